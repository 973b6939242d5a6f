"""int8 files: scores, limits, layers in float32."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.checkpoints.weights import load_network, read_weights
from vocseg.deploy import quantize
from vocseg.deploy.convert import onnx_model
from vocseg.deploy.images import network_input, sample_images
from vocseg.inference.backends import load_trained
from vocseg.inference.exported import ExportSettings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def converted(weights: Path) -> Any:
    """The weights as `onnx.ModelProto`."""
    return onnx_model(load_network(weights), ExportSettings("mask", 64))


@pytest.fixture(autouse=True)
def one_conversion(converted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion takes seconds, and is not what these tests are about."""
    monkeypatch.setattr(quantize, "onnx_model", lambda network, settings: converted)


def _words(weights: Path, sample: Path, kind: str, path: Path) -> list[str]:
    flags = ["--int8", "--data_root", str(sample), "--calibration_images", "2", "--max_val_samples", "5"]
    return ["export", "--ckpt_path", str(weights), "--format", kind, "--output_file", str(path), *flags]


def _float_weights(path: Path) -> set[str]:
    """Names of the weights of convolutions that are float32."""
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(path).graph
        weights = {each.name for each in graph.initializer}
        return {each.input[1] for each in graph.node if each.op_type == "Conv"} & weights
    import openvino

    nodes = (
        each for each in openvino.Core().read_model(path).get_ops() if "Convolution" in each.get_type_name()
    )
    weights = (each.input_value(1).get_node() for each in nodes)
    return {each.get_friendly_name() for each in weights if each.get_type_name() == "Constant"}


@pytest.mark.parametrize(("kind", "name"), [("onnx", "x.onnx"), ("openvino", "x.xml")])
def test_int8_file_is_small_and_close_to_weights_with_kept_layers_in_float32(
    weights: Path,
    sample: Path,
    here: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    name: str,
) -> None:
    monkeypatch.setattr(quantize, "_KEPT", (2,))
    main(_words(weights, sample, kind, here / name))
    said = capsys.readouterr().out
    assert "in int8, 2 layers in float32" in said
    assert "points" in said
    record = json.loads((here / f"{name}.json").read_text())
    assert record["precision"] == "int8"
    assert record["parity"]["equal_pixels"] >= 0.8
    assert {"estimate", "low", "high"} == record["comparison"]["mean_iou"]["difference"].keys()
    assert len(record["kept_in_float32"]) == 2
    assert _float_weights(here / name) == {
        f"network.model.{each}.weight" for each in record["kept_in_float32"]
    }
    size = sum(path.stat().st_size for path in here.iterdir() if path.suffix in (".onnx", ".bin"))
    assert size < 0.4 * weights.stat().st_size
    network, description, _ = load_trained(here / name)
    assert description["export"]["precision"] == "int8"
    image = network_input(sample_images(1)[0], 64)
    with torch.inference_mode():
        expected = load_network(weights)(image)
    error = (network(image) - expected).abs().mean()
    assert 0 < error < 0.2 * expected.std()


def test_lossy_int8_returns_layers_to_float32_and_is_refused_above_max_drop(
    weights: Path, sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def spoiled(kind: Any, model: Any, batches: Any, kept: Any) -> Any:
        """The converted network, whose last layer is lost unless the three most sensitive layers are kept."""
        import onnx

        tried.append(len(kept))
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        if len(kept) < limit:
            last = next(each for each in reversed(changed.graph.node) if each.op_type == "Conv")
            weight = next(each for each in changed.graph.initializer if each.name == last.input[1])
            weight.raw_data = bytes(len(weight.raw_data))
        return changed

    monkeypatch.setattr(quantize, "quantized", spoiled)
    monkeypatch.setattr(quantize, "drop", lambda found: 5.0 if tried[-1] < limit else 0.1)
    limit = 3
    path = here / "x.onnx"
    main(_words(weights, sample, "onnx", path))
    assert tried == [0, 1, 3]
    kept = json.loads((here / "x.onnx.json").read_text())["kept_in_float32"]
    layers = dict(load_network(weights).model.named_modules())
    assert len(kept) == 3
    assert all(isinstance(layers[name], torch.nn.Conv2d) for name in kept)
    limit = 99
    monkeypatch.setattr(quantize, "_KEPT", (0,))
    path.unlink()
    (here / "x.onnx.json").unlink()
    capsys.readouterr()
    said = refused(capsys, _words(weights, sample, "onnx", path))
    assert "x.onnx was not written: mean IoU" in said
    assert "above --max_drop 2" in said
    assert list(here.iterdir()) == []


def test_sensitive_layers_are_all_convolutions_of_an_unchanged_network(weights: Path) -> None:
    read = read_weights(weights)
    network = quantize.plain_network(load_network(weights), read.description)
    images = [network_input(image, 64).numpy() for image in sample_images(2)]
    ranking = quantize.sensitive_layers(network, images)
    convolutions = [name for name, each in network.model.named_modules() if isinstance(each, torch.nn.Conv2d)]
    assert sorted(ranking) == sorted(convolutions)
    state = load_network(weights).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
