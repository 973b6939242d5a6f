"""Test-time augmentation, sliding windows and what a score is printed and saved with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tests.conftest import refused, scoring
from vocseg.__main__ import main
from vocseg.checkpoints.weights import read_weights
from vocseg.commands.compare import compare
from vocseg.constants import CLASSES
from vocseg.data import voc
from vocseg.inference.predictor import load
from vocseg.metrics.per_image import PerImageConfusion, load_per_image_confusion
from vocseg.models.network import Network, build_network

Capture = pytest.CaptureFixture[str]
SIZE = 64


def _network(weights: Path) -> Network:
    read = read_weights(weights)
    network = build_network(read.description["arch"], read.description["encoder"], None, 21).eval()
    network.model.load_state_dict(read.state_dict)
    return network


def _pairs(sample: Path, ids: tuple[str, ...]) -> list[tuple[torch.Tensor, np.ndarray]]:
    """Photographs uint8 `[1,3,H,W]` and masks `[H,W]`, by PIL."""
    folder = voc.find(sample)
    assert folder is not None
    images = [np.asarray(Image.open(voc.image_path(folder, id)).convert("RGB")) for id in ids]
    masks = [np.asarray(Image.open(voc.mask_path(folder, id, "val"))) for id in ids]
    return [
        (torch.from_numpy(image.copy()).permute(2, 0, 1)[None], mask)
        for image, mask in zip(images, masks, strict=True)
    ]


def _matrix(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    labelled = truth != 255
    return np.bincount(21 * truth[labelled].astype(int) + found[labelled], minlength=441).reshape(21, 21)


def _resize(pixels: torch.Tensor, shape: tuple[int, ...], antialias: bool = False) -> torch.Tensor:
    return functional.interpolate(pixels.float(), shape, mode="bilinear", antialias=antialias)


def _averaged(network: Network, image: torch.Tensor) -> torch.Tensor:
    """Logarithm `[1,21,64,64]` of the mean of six softmaxes: scales 0.5, 1 and 1.5, plain and mirrored."""
    total = torch.zeros(1, 21, SIZE, SIZE)
    for edge in (32, 64, 96):
        seen = image if edge == SIZE else _resize(image, (edge, edge), antialias=True)
        for way in (lambda pixels: pixels, lambda pixels: torch.flip(pixels, (3,))):
            logits = way(network(way(seen)))
            total += torch.softmax(logits if edge == SIZE else _resize(logits, (SIZE, SIZE)), 1)
    return (total / 6).log()


def _run(verb: str, trained: Path, sample: Path, *flags: str) -> None:
    words = scoring(trained, sample)
    main([verb, *words, "--trainer.accelerator", "cpu", *flags])


def _scores(here: Path, verb: str = "test", number: int = 0) -> dict[str, Any]:
    path = here / f"lightning_logs/{verb}/version_{number}/scores.json"
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def _confusion(here: Path, verb: str, name: str, number: int = 0) -> PerImageConfusion:
    path = here / f"lightning_logs/{verb}/version_{number}/per_image_confusion_{name}.npz"
    return load_per_image_confusion(path)


FLIP = ("--tta.flip", "true")
WINDOWS = ("--original_resolution.sliding_window", "true", "--original_resolution.window_stride")
FEW = ("--data.max_val_samples", "2")
TTA = (*FLIP, "--tta.scales", "[0.5,1,1.5]")


def test_tta_scores_equal_recomputation(sample: Path, trained: Path, here: Path, capsys: Capture) -> None:
    _run("test", trained, sample, *TTA)
    said = " ".join(capsys.readouterr().out.split())
    label = "predicted at 64x64; tta: flip, scales 0.5 1 1.5"
    assert f"7 images at original resolution ({label})" in said
    assert "input resolution (at 64x64; tta: flip, scales 0.5 1 1.5): mean IoU" in said
    original = _confusion(here, "test", "original")
    network = _network(trained / "unet_voc.pth")
    for k, (image, truth) in enumerate(_pairs(sample, original.ids)):
        # Antialiased bytes, as the network gets them.
        small = functional.interpolate(image, (SIZE, SIZE), mode="bilinear", antialias=True)
        with torch.inference_mode():
            found = _resize(_averaged(network, small), truth.shape).argmax(1)[0].numpy()
        assert np.array_equal(original.matrices[k], _matrix(found, truth))
    found_scores = _scores(here)
    for part in ("input_resolution", "original_resolution", "calibration"):
        assert found_scores[part]["protocol"]["tta"] == "flip, scales 0.5 1 1.5"
    assert found_scores["ceiling"]["protocol"]["tta"] is None


def test_sliding_window_scores_equal_masks_from_python(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    _run("test", trained, sample, *WINDOWS, "0.75", *FEW)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 images at original resolution (predicted in 64x64 windows, stride 0.75)" in said
    assert "input resolution (at 64x64): mean IoU" in said
    assert "upper bound" not in said
    assert "at original resolution (mean" in said
    original = _confusion(here, "test", "original")
    model = load(trained / "unet_voc.pth", device="cpu", window_stride=0.75)
    for k, (image, truth) in enumerate(_pairs(sample, original.ids)):
        assert np.array_equal(original.matrices[k], _matrix(model(image[0]).mask, truth))
    found = _scores(here)
    assert found["ceiling"] is None
    assert found["input_resolution"]["protocol"]["windows"] is None
    assert found["calibration"]["protocol"] == found["original_resolution"]["protocol"]
    pixels = sum(each["pixels"] for each in found["calibration"]["bins"])
    assert pixels == original.matrices.sum()


def test_scores_of_other_tta_are_compared_only_on_request(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    _run("validate", trained, sample, *FEW)
    capsys.readouterr()
    _run("validate", trained, sample, *FLIP, *FEW)
    said = " ".join(capsys.readouterr().out.split())
    assert "validate: val, 2 images at 64x64; tta: flip (data" in said
    plain, flipped = (_confusion(here, "validate", "network", number) for number in (0, 1))
    assert (plain.protocol.tta, flipped.protocol.tta) == (None, "flip")
    assert (plain.matrices != flipped.matrices).any()
    runs = [f"lightning_logs/validate/version_{k}" for k in (0, 1)]
    said = refused(capsys, ["compare", *runs])
    assert "their tta differs (None and 'flip')" in said
    assert "--allow_different tta" in said
    assert "tta" in refused(capsys, ["compare", *runs, "--allow_different", "windows"])
    main(["compare", *runs, "--allow_different", "tta"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"A: {runs[0]} val, 2 images at 64x64 (data" in said
    assert f"B: {runs[1]} val, 2 images at 64x64; tta: flip (data" in said
    (found,) = compare(runs, allow_different=["tta"])
    assert found.as_dict()["protocols"][1]["tta"] == "flip"


def test_scores_file_has_all_printed_values(sample: Path, trained: Path, here: Path, capsys: Capture) -> None:
    _run("test", trained, sample)
    said, found = " ".join(capsys.readouterr().out.split()), _scores(here)
    original = found["original_resolution"]
    for name, text in (
        ("mean_iou", "mean IoU"),
        ("pixel_accuracy", "pixel accuracy"),
        ("mean_class_accuracy", "mean class accuracy"),
        ("frequency_weighted_iou", "frequency-weighted IoU"),
        ("trimap_mean_iou", "trimap mean IoU (5 px)"),
    ):
        figure = original["intervals"][name]
        ends = f"{100 * figure['low']:.1f}, {100 * figure['high']:.1f}"
        assert f"{text} {100 * figure['estimate']:.1f} [{ends}] %" in said
    assert original["trimap_width"] == 5
    assert set(original["intervals"]["class_iou"]) == set(CLASSES)
    missing = sum(value for value in original["error_budget"].values() if value is not None)
    assert missing == pytest.approx(1 - original["mean_iou"], abs=1e-9)
    assert f"upper bound of mean IoU at 64x64: {100 * found['ceiling']['mean_iou']:.1f} %" in said
    error = found["calibration"]["expected_calibration_error"]
    assert f"ECE {100 * error:.1f} % at 64x64 (mean confidence" in said
    assert found["input_resolution"]["intervals"]["mean_iou"]["estimate"] == pytest.approx(
        found["input_resolution"]["mean_iou"]
    )
    assert f"loss {found['input_resolution']['loss']:.3f}" in said
    band = _confusion(here, "test", "original").total_band()
    assert band is not None
    assert original["trimap_matrix"] == band.tolist()


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("test --tta.scales [9]", "--tta.scales [9.0]"),
        ("test --original_resolution.window_stride 1.5", "--original_resolution.window_stride 1.5"),
        ("validate --original_resolution.sliding_window true", "--original_resolution.on_validate true"),
        ("finetune --tta.flip true", "--tta.flip is for validate, test and predict"),
        (
            "fit --original_resolution.sliding_window true",
            "--original_resolution.sliding_window is for validate, test and predict",
        ),
    ],
)
def test_invalid_scoring_flag_is_refused(
    sample: Path, trained: Path, here: Path, capsys: Capture, line: str, part: str
) -> None:
    verb, *flags = line.split()
    start = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    said = refused(capsys, [verb, *start, *flags])
    assert said.splitlines()[-1].startswith("vocseg: ")
    assert part in said
    assert not list(here.rglob("version_*"))


def test_json_is_alone_on_standard_output(
    sample: Path, trained: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the bar, the tables and Lightning's notices on the other stream."""
    _run("test", trained, sample, *FEW, "--json", "-")
    said = capfd.readouterr()
    found = json.loads(said.out)
    assert found == _scores(here)
    assert {"original_resolution", "input_resolution", "ceiling", "calibration", "weights"} == set(found)
    assert "mean IoU" in said.err


def test_finetune_writes_paired_comparison(sample: Path, trained: Path, here: Path, capsys: Capture) -> None:
    small = "--data.max_train_samples 8 --data.max_val_samples 6 --trainer.max_epochs 2 --model.lr 1e-3"
    _run("finetune", trained, sample, "--data.batch_size", "4", *small.split())
    said = " ".join(capsys.readouterr().out.split())
    assert "fine-tuning: val, 6 images at 64x64" in said
    assert "than before: mean IoU" in said or "does not differ from before" in said
    folder = here / "lightning_logs/finetune/version_0"
    found = json.loads((folder / "scores.json").read_text())
    before, after = (_confusion(here, "finetune", name) for name in ("before", "network"))
    assert before.ids == after.ids
    assert before.total().tolist() == found["before"]["matrix"]
    assert after.total().tolist() == found["after"]["matrix"]
    best = read_weights(folder / "unet_voc.pth").description["score"]
    assert found["after"]["mean_iou"] == best["mean_iou"]
    (again,) = compare([str(folder / "per_image_confusion_before.npz"), str(folder)])
    assert found["comparison"]["mean_iou"] == again.as_dict()["mean_iou"]
    assert found["comparison"]["class_iou"] == again.as_dict()["class_iou"]
