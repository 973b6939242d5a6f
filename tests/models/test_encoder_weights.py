"""Encoders filled from local files."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from safetensors.torch import save_file

from vocseg.errors import UserError
from vocseg.models.network import load_encoder_file


def _features(encoder: torch.nn.Module) -> torch.Tensor:
    encoder.eval()
    with torch.no_grad():
        return encoder(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))[-1]  # type: ignore[no-any-return]


def _encoder(name: str) -> torch.nn.Module:
    return smp.encoders.get_encoder(name, weights=None)  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_resnet34_gives_its_features(tmp_path: Path, suffix: str) -> None:
    source = torchvision.models.resnet34()
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)  # type: ignore[operator]
    encoder = _encoder("resnet34")
    load_encoder_file(encoder, path)
    source.fc = source.avgpool = torch.nn.Identity()  # type: ignore[assignment]
    source.eval()
    with torch.no_grad():
        wanted = source(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    torch.testing.assert_close(_features(encoder).flatten(1), wanted)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet34", "resnet34"),  # timm's keys into smp's own encoder
        ("tu-resnet34", "resnet34"),  # into smp's wrapper round timm
        ("mobilenet_v2", "mobilenetv2_100"),  # other names, the same layers in the same order
        ("tu-test_resnet.r160_in1k", "test_resnet"),
    ],
)
def test_timms_keys_give_the_same_features(tmp_path: Path, ours: str, theirs: str) -> None:
    torch.manual_seed(0)
    source = timm.create_model(theirs, num_classes=10)
    for module in source.modules():  # statistics that tell a mistaken layer apart
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    encoder = _encoder(ours)
    load_encoder_file(encoder, tmp_path / "weights.pth")
    source.eval()
    with torch.no_grad():
        wanted = source.forward_features(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    torch.testing.assert_close(_features(encoder), wanted, rtol=1e-4, atol=1e-4)


def test_torchvisions_keys_fill_a_timm_encoder(tmp_path: Path) -> None:
    source = torchvision.models.mobilenet_v2()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    encoder = _encoder("tu-mobilenetv2_100")  # without the last convolution, which belongs to timm's head
    load_encoder_file(encoder, tmp_path / "weights.pth")
    ours, theirs = list(encoder.parameters()), list(source.parameters())
    assert len(ours) > 150
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=False))


def test_the_local_mobilenet_loads(real_voc: Path) -> None:
    path = real_voc.parent / "weights" / "mobilenet_v2_imagenet.pth"
    encoder = _encoder("mobilenet_v2")
    load_encoder_file(encoder, path)
    source = torchvision.models.mobilenet_v2()
    source.load_state_dict(torch.load(path, weights_only=True))
    source.eval()
    with torch.no_grad():
        wanted = source.features(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    assert torch.equal(_features(encoder), wanted)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torchvision.models.resnet18, "not the weights of this encoder: its 'layer1"),
        (lambda: {"a": 1}, "holds no state dict"),
        (None, "there is no such file"),
        (b"nonsense", "not a readable file of weights"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: object, what: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content):
        made = content()
        torch.save(made.state_dict() if isinstance(made, torch.nn.Module) else made, path)
    with pytest.raises(UserError, match=f"--model.encoder_weights {path}: .*{what}"):
        load_encoder_file(_encoder("resnet34"), path)
