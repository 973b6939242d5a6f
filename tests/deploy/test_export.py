"""Exported files against PyTorch."""

import copy
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import refused
from tests.deploy.conftest import FLAGS
from tests.forks import run
from vocseg.__main__ import main
from vocseg.checkpoints.weights import load_network, read_weights
from vocseg.commands.compare import compare
from vocseg.deploy import convert
from vocseg.deploy.convert import ExportGraph
from vocseg.deploy.images import network_input, sample_images
from vocseg.errors import UserError
from vocseg.inference.backends import load_trained, read_description
from vocseg.metrics.upsample import argmax_upsampled
from vocseg.utils.streams import Streams

Capture = pytest.CaptureFixture[str]
every_file = pytest.mark.parametrize("name", FLAGS)


@every_file
def test_exported_file_has_logits_and_description_of_weights(
    exported: Path, weights: Path, name: str
) -> None:
    network, description, kind = load_trained(exported / name, threads=1)
    expected = read_weights(weights).description
    assert kind == {"onnx": "onnx", "xml": "openvino", "pt2": "torch_export"}[name.split(".")[1]]
    assert {key: description[key] for key in expected} == json.loads(json.dumps(expected))
    assert description["score"]["protocol"]["images"] == 7
    assert read_description(exported / name) == description
    images = torch.cat([network_input(image, 64) for image in sample_images(3)])
    with torch.inference_mode():
        logits = load_network(weights)(images)
    found = network(images)
    if name.startswith("probabilities"):  # their logarithms
        logits = logits.log_softmax(1)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    record = json.loads((exported / f"{name}.json").read_text())
    parity = record["parity"]
    assert (record["file"], parity["passed"], parity["images"]) == (name, True, 8)
    assert parity["largest_difference"] < parity["largest_allowed"] / 100
    assert 0.995 <= parity["equal_pixels"] <= 1


def test_mask_output_has_image_size_and_classes_of_predict(exported: Path, weights: Path) -> None:
    network: Any = load_trained(exported / "mask.xml").network
    whole = sample_images(1)[0]
    for image in (whole, whole[:50, :41], whole[::3, :64]):
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        mask = network.outputs(pixels)["mask"][0]
        with torch.inference_mode():
            logits = load_network(weights)(network_input(np.ascontiguousarray(image), 64))[0]
        expected = argmax_upsampled(logits, image.shape[:2]).numpy()
        assert mask.shape == image.shape[:2]
        assert (mask == expected).mean() > 0.99


def test_concurrent_images_have_logits_of_one_alone(exported: Path) -> None:
    network: Any = load_trained(exported / "mask.xml").network
    images = [network_input(image, 64) for image in sample_images(4)]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = [network(image) for image in images]
        with Streams(2) as streams:
            together = list(streams.map(network, images))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_signal_after_dropped_openvino_networks_is_handled(exported: Path, here: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from vocseg import load\n"
        "one, other = load(sys.argv[1]), load(sys.argv[1])\n"
        "del one, other\n"  # the first one first
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = run([str(exported / "mask.xml")], here, code)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


class Swapped(ExportGraph):
    """Takes BGR for RGB."""

    def forward(self, image: torch.Tensor) -> Any:
        return super().forward(image.flip(1))


class WithoutMean(ExportGraph):
    """Leaves the mean of the normalisation out."""

    def __init__(self, network: Any, *args: Any) -> None:
        network = copy.deepcopy(network)
        network.mean.zero_()
        super().__init__(network, *args)


@pytest.mark.parametrize(
    ("fault", "kind", "name"), [(Swapped, "openvino", "x.xml"), (WithoutMean, "torch_export", "x.pt2")]
)
def test_planted_fault_is_refused_and_leaves_no_file(
    weights: Path,
    here: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
    kind: str,
    name: str,
) -> None:
    monkeypatch.setattr(convert, "ExportGraph", fault)
    said = refused(capsys, ["export", "--ckpt_path", str(weights), "--format", kind, "--output_file", name])
    assert f"{name} was not written: it differs from PyTorch" in said
    assert "largest difference of logits" in said
    assert said.count("\n") == 1
    assert list(here.iterdir()) == []


@every_file
def test_exported_file_scores_as_its_weights(
    exported: Path, sample: Path, tested: Path, here: Path, name: str
) -> None:
    cli = main([
        *("test", "--ckpt_path", str(exported / name), "--data.root", str(sample)),
        *("--trainer.accelerator", "cpu", "--data.batch_size", "1"),
    ])  # fmt: skip
    assert cli is not None
    expected = json.loads((tested / "scores.json").read_text())
    found = json.loads((here / "lightning_logs/test/version_0/scores.json").read_text())
    for key in ("original_resolution", "input_resolution"):
        assert found[key]["protocol"] == expected[key]["protocol"]
        assert found[key]["mean_iou"] == pytest.approx(expected[key]["mean_iou"], abs=1e-4)
        assert found[key]["pixel_accuracy"] == pytest.approx(expected[key]["pixel_accuracy"], abs=1e-4)
    assert found["weights"]["path"] == str((exported / name).resolve())
    difference = compare([str(tested), "lightning_logs/test/version_0"])[0].measures["mean_iou"].difference
    assert difference.estimate == pytest.approx(0, abs=1e-4)


def test_verbs_take_or_refuse_an_exported_file(
    exported: Path, weights: Path, sample: Path, here: Path, capsys: Capture
) -> None:
    photos = sample / "VOCdevkit/VOC2012/JPEGImages"
    picture = str(sorted(photos.iterdir())[0])
    masks = []
    for name in ("mask.xml", "unet_voc.pth"):
        flags = ["--data.predict_dir", picture, "--prediction_writer.output_dir", str(here / name)]
        main(["predict", "--ckpt_path", str(exported / name), *flags, "--trainer.accelerator", "cpu"])
        masks.append(np.asarray(Image.open(next((here / name / "masks").iterdir()))))
    assert (masks[0] == masks[1]).mean() > 0.999
    words = ["validate", "--ckpt_path", str(exported / "mask.xml"), "--data.root", str(sample)]
    main([*words, "--trainer.accelerator", "cpu", "--tta.flip", "true"])
    capsys.readouterr()
    for flags, what in {
        ("--tta.scales", "[0.5, 1]"): "takes 64 pixels each way, not 32. Leave out --data.image_size and",
        ("--data.image_size", "128"): "takes 64 pixels each way, not 128",
        ("--model.encoder", "resnet18"): "contains a network with encoder tu-test",
    }.items():
        assert what in refused(capsys, [*words, "--trainer.accelerator", "cpu", *flags])
    words = ["finetune", "--ckpt_path", str(exported / "mask.xml"), "--data.root", str(sample)]
    assert "is an exported file, which cannot be trained" in refused(capsys, words)
    words = ["export", "--ckpt_path", str(exported / "mask.xml"), "--format", "openvino"]
    assert "is an exported file. Give the weights it was made from" in refused(capsys, words)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--int8"], "are not for --format pth"),
        (["--format", "onnx", "--output_file", "x.pth"], "x.pth: onnx needs the ending .onnx"),
        (["--format", "onnx", "--int8"], "--int8 needs --data_root FOLDER"),
        (["--format", "onnx", "--output", "masks"], "--output"),
        (["--format", "onnx", "--data_root", "nowhere"], "nowhere"),
    ],
)
def test_invalid_export_flags_raise(
    weights: Path, here: Path, capsys: Capture, flags: list[str], what: str
) -> None:
    said = refused(capsys, ["export", "--ckpt_path", str(weights), *flags])
    assert what in said
    assert said.count("\n") == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "name"),
    [("onnx", "probabilities.onnx"), ("onnxruntime", "probabilities.onnx"), ("openvino", "mask.xml")],
)
def test_missing_package_raises_with_the_extra(
    exported: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'needs the package {package}: type pip install "vocseg\[deploy\]"'):
        load_trained(exported / name)


def test_submitted_masks_of_export_equal_those_of_its_weights(
    exported: Path, weights: Path, sample: Path, here: Path
) -> None:
    for name, path in (("a", weights), ("b", exported / "probabilities.onnx")):
        words = ["--ckpt_path", str(path), "--output", f"{name}.tgz"]
        main(["submit", str(sample), "--split", "val", *words])
        with tarfile.open(f"{name}.tgz") as tar:
            tar.extractall(name, filter="data")
    first, second = (sorted(Path(name).rglob("*.png")) for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in second]
    for one, two in zip(first, second, strict=True):
        assert (np.asarray(Image.open(one)) == np.asarray(Image.open(two))).mean() > 0.999
