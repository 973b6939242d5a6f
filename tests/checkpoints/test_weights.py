"""`unet_voc.pth` and the checkpoints beside it."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from vocseg.checkpoints.weights import load_network, load_weights, read_weights
from vocseg.constants import CLASSES
from vocseg.deploy.export import export
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule


def test_weights_file_contains_its_description(trained: Path) -> None:
    content = torch.load(trained / "unet_voc.pth", weights_only=True)
    about = content["description"]
    assert (about["arch"], about["encoder"], about["size"]) == ("unet", "tu-test_resnet.r160_in1k", 64)
    assert tuple(about["classes"]) == CLASSES
    assert about["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert about["score"]["protocol"]["split"] == "val"
    assert about["score"]["protocol"]["images"] == 7
    assert 0 <= about["score"]["mean_iou"] <= 1
    assert about["vocseg"]


def test_smp_loads_the_state_dict(trained: Path) -> None:
    content = torch.load(trained / "unet_voc.pth", weights_only=True)
    model = smp.create_model("unet", content["description"]["encoder"], None, classes=21).eval()
    model.load_state_dict(content["state_dict"])
    module = SegmentationModule(encoder=content["description"]["encoder"]).eval()
    load_weights(module, trained / "unet_voc.pth")
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    norm = content["description"]["normalisation"]
    mean, std = (torch.tensor(norm[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(
            model((image / norm["scale"] - mean) / std), module(image), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("name", ["unet_voc.pth", "best.ckpt"])
def test_network_loads_from_weights_file_alone(trained: Path, name: str) -> None:
    network = load_network(trained / name)
    module = SegmentationModule.load_from_checkpoint(trained / "best.ckpt").eval()
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(network(image), module(image))
    assert not network.training


def test_weights_file_equals_best_checkpoint(trained: Path) -> None:
    ours, lightnings = read_weights(trained / "unet_voc.pth"), read_weights(trained / "best.ckpt")
    assert ours.description["score"] == lightnings.description["score"]
    assert ours.state_dict.keys() == lightnings.state_dict.keys()
    assert all(torch.equal(value, lightnings.state_dict[key]) for key, value in ours.state_dict.items())


@pytest.mark.parametrize("name", ["unet_voc.pth", "last.ckpt"])
def test_weights_of_another_network_raise(trained: Path, name: str) -> None:
    with pytest.raises(
        UserError, match=r"contains a network with encoder tu-test.*but --model.encoder is resnet18"
    ):
        load_weights(SegmentationModule(encoder="resnet18"), trained / name)


def test_weights_of_another_class_count_raise(trained: Path) -> None:
    module = SegmentationModule(encoder="tu-test_resnet.r160_in1k", num_classes=5)
    with pytest.raises(UserError, match=r"with num_classes 21, but --model.num_classes is 5"):
        load_weights(module, trained / "unet_voc.pth")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "there is no such file"),
        (b"", "not a readable file of weights"),
        (b"\x00" * 500, "not a readable file of weights"),
        ({"conv.weight": torch.zeros(2)}, "contains no network of vocseg"),
        ([1, 2], "contains no network of vocseg"),
        ({"description": {"format": 99, "vocseg": "9.9"}, "state_dict": {}}, "made by vocseg 9.9, newer"),
    ],
)
def test_foreign_weights_file_raises(tmp_path: Path, content: object, what: str) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=f"--ckpt_path {path}: {what}"):
        read_weights(path)


@pytest.mark.parametrize(
    ("key", "value"), [("arch", "nonsense"), ("encoder", "resnet18"), ("encoder", "nonsense")]
)
def test_export_of_mismatching_weights_raises(trained: Path, tmp_path: Path, key: str, value: str) -> None:
    content = torch.load(trained / "unet_voc.pth", weights_only=True)
    content["description"][key] = value
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=rf"{value}"):
        export(tmp_path / "x.pth", output_file=tmp_path / "y.pth")
    assert not (tmp_path / "y.pth").exists()
