"""Networks by name, and files of encoder weights."""

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from safetensors.torch import save_file

from tests.conftest import TINY
from vocseg.constants import IMAGENET_MEAN, IMAGENET_STD
from vocseg.errors import UserError
from vocseg.models.network import build_network, load_encoder_file


def test_network_normalises_uint8_images() -> None:
    network = build_network("unet", TINY, None, 21).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(k).view(1, 3, 1, 1) for k in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        torch.testing.assert_close(
            network(image), network.model((image / 255 - mean) / std), rtol=1e-3, atol=1e-4
        )


def test_state_dict_equals_that_of_smp() -> None:
    network = build_network("unet", TINY, None, 21)
    smp.create_model("unet", TINY, None, classes=21).load_state_dict(network.model.state_dict())
    assert all(key.startswith("model.") for key in network.state_dict())


def test_logits_are_float32_under_autocast() -> None:
    network = build_network("unet", TINY, None, 21)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).dtype == torch.float32


@pytest.mark.parametrize(
    ("arch", "encoder", "weights", "classes", "what"),
    [
        ("unnet", TINY, None, 21, "--model.arch unnet .*Available options are"),
        ("unet", "resnet43", None, 21, "--model.encoder resnet43: .*supported encoders"),
        ("unet", "tu-resnet3", None, 21, "--model.encoder tu-resnet3: .*resnet3"),
        ("unet", "resnet34", "imagnet", 21, "--model.encoder_weights imagnet: .*Available options are"),
        ("unet", TINY, None, 1, "--model.num_classes 1: a network needs at least 2"),
        ("unet", "tu-test_vit", None, 21, "--model.encoder tu-test_vit: cannot be built under"),
        ("unet", "tu-vit_small_patch14_dinov2", None, 21, "cannot be built under --model.arch unet"),
    ],
)
def test_unbuildable_network_raises(
    arch: str, encoder: str, weights: str | None, classes: int, what: str
) -> None:
    with pytest.raises(UserError, match=what):
        build_network(arch, encoder, weights, classes)


def test_size_not_divisible_by_stride_raises() -> None:
    build_network("unet", TINY, None, 21).check_size(100)
    with pytest.raises(UserError, match=r"--data.image_size 100: this network needs a multiple of 32"):
        build_network("unetplusplus", TINY, None, 21).check_size(100)


def test_failed_download_of_imagenet_weights_names_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    create = smp.create_model

    def offline(arch: str, encoder_name: str, encoder_weights: str | None, classes: int) -> Any:
        if encoder_weights is not None:
            raise ConnectionError("no answer")
        return create(arch, encoder_name=encoder_name, encoder_weights=None, classes=classes)

    monkeypatch.setattr(smp, "create_model", offline)
    with pytest.raises(UserError, match=r"imagenet: the weights of resnet34 .* \(no answer\)\. Give a local"):
        build_network("unet", "resnet34", "imagenet", 21)


def _features(encoder: torch.nn.Module) -> torch.Tensor:
    encoder.eval()
    with torch.no_grad():
        return encoder(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))[-1]  # type: ignore[no-any-return]


def _encoder(name: str) -> torch.nn.Module:
    return smp.encoders.get_encoder(name, weights=None)  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_resnet34_file_gives_same_features(tmp_path: Path, suffix: str) -> None:
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
        ("tu-test_resnet.r160_in1k", "test_resnet"),
    ],
)
def test_timm_file_gives_same_features(tmp_path: Path, ours: str, theirs: str) -> None:
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


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torchvision.models.resnet18, "not the weights of this encoder: its 'layer1"),
        (lambda: {"a": 1}, "has no state dict"),
        (None, "there is no such file"),
        (b"nonsense", "not a readable file of weights"),
    ],
)
def test_foreign_encoder_file_raises(tmp_path: Path, content: object, what: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content):
        made = content()
        torch.save(made.state_dict() if isinstance(made, torch.nn.Module) else made, path)
    with pytest.raises(UserError, match=f"--model.encoder_weights {path}: .*{what}"):
        load_encoder_file(_encoder("resnet34"), path)
