"""Convolutions by matrix products, and folded ones, against torch's own in double precision."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.conftest import TINY
from vocseg.performance import cpu_conv as matmul
from vocseg.performance.cpu_conv import MatmulGradConv2d, convolution, with_matmul_gradients
from vocseg.performance.cpu_unet_decoder import (
    FusedUpsampleBlock,
    _taps,
    fold_decoder,
    folded_kernels,
    upsampled_conv,
)


def _random(*shape: int) -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (7, 2, 3), (2, 1, 1), (3, 1, 0)]
)
@pytest.mark.parametrize("block", [1, 3000, 1 << 21])  # a row, some rows, some images at once
def test_values_and_gradients_are_torchs(
    kernel: int, stride: int, padding: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matmul, "_BLOCK", block)
    x, weight = _random(3, 5, 11, 9), _random(4, 5, kernel, kernel)
    bias = torch.ones(4, dtype=torch.float64, requires_grad=True)
    found = convolution(x, weight, bias, stride, padding)
    wanted = functional.conv2d(x, weight, bias, stride, padding)
    assert torch.equal(found, wanted)
    gradient = torch.randn_like(wanted)
    ours = torch.autograd.grad(found, (x, weight, bias), gradient)
    theirs = torch.autograd.grad(wanted, (x, weight, bias), gradient)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_layers_of_other_kinds_are_left_to_torch() -> None:
    kinds = [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, (3, 5), stride=(1, 2)),
    ]
    with_matmul_gradients(nn.ModuleList(kinds))
    assert [type(layer) is MatmulGradConv2d for layer in kinds] == [True] + [False] * 6


@pytest.mark.parametrize("kernel", [2, 3])
def test_in_bf16_gradients_of_small_layers_are_rounded_but_once(
    kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matmul, "_BLOCK", 1)  # blocks of a row, if there were any
    layer, x = nn.Conv2d(16, 8, kernel, padding=1), _random(4, 16, 12, 12).float().bfloat16().detach()
    with_matmul_gradients(layer, in_float32=False)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    gradient = torch.randn(found.shape).bfloat16()
    found.backward(gradient)
    weight = layer.weight.detach().bfloat16().double().requires_grad_()
    bias = layer.bias.detach().bfloat16().double().requires_grad_()  # type: ignore[union-attr]
    wanted = functional.conv2d(x.double(), weight, bias, padding=1)
    theirs = torch.autograd.grad(wanted, (weight, bias), gradient.double())
    assert found.dtype == torch.bfloat16
    for p, other in zip((layer.weight, layer.bias), theirs, strict=True):
        assert p is not None
        assert p.grad is not None
        assert p.grad.dtype == torch.float32
        torch.testing.assert_close(p.grad, other.float(), rtol=2**-8, atol=1e-3)


def test_what_is_computed_by_products_is_what_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, sizes = nn.Conv2d(64, 64, 3, padding=1), []
    with_matmul_gradients(layer, in_float32=False)

    def spy(x: Tensor, *rest: object) -> Tensor:
        sizes.append(x.shape[2])
        return convolution(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(matmul, "convolution", spy)
    for bf16 in (True, False):
        for size in (32, 128):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                layer(torch.randn(1, 64, size, size))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 64, 16, 16))
    assert sizes == [32]
    with_matmul_gradients(other := nn.Conv2d(64, 64, 3))
    other(torch.randn(1, 64, 16, 16))
    assert sizes == [32, 16]


def test_a_frozen_layer_gives_its_input_a_gradient_and_itself_none() -> None:
    layer = nn.Conv2d(2, 3, 3)
    with_matmul_gradients(layer)
    layer.requires_grad_(False)
    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 7)])
def test_a_folded_convolution_is_upsampling_and_a_convolution(size: tuple[int, int]) -> None:
    x, weight = _random(2, 5, *size), _random(4, 5, 3, 3)
    found = upsampled_conv(x, weight)
    wanted = functional.conv2d(functional.interpolate(x, scale_factor=2), weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    gradient = torch.randn_like(wanted)
    ours = torch.autograd.grad(found, (x, weight), gradient)
    theirs = torch.autograd.grad(wanted, (x, weight), gradient)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_training_goes_on_after_kernels_were_folded_for_scoring() -> None:
    _taps.cache_clear()
    x, weight = _random(1, 2, 4, 4), _random(3, 2, 3, 3)
    with torch.inference_mode():
        upsampled_conv(x, weight)
    assert torch.autograd.grad(upsampled_conv(x, weight).sum(), weight)[0].shape == weight.shape


def test_kernels_are_folded_in_full_precision_also_under_autocast() -> None:
    weight = torch.randn(3, 2, 3, 3)
    wanted = folded_kernels(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(folded_kernels(weight), wanted)
    torch.testing.assert_close(wanted[3:6, :, 1, 0], weight[:, :, 1:, :2].sum((2, 3)))  # even row, odd column


@pytest.mark.parametrize("encoder", [TINY, "mobilenet_v2"])
def test_a_folded_decoder_gives_smps_values_and_gradients(encoder: str) -> None:
    torch.manual_seed(0)
    model = smp.create_model("unet", encoder, None, classes=5).double()
    image, results = torch.randn(2, 3, 64, 64, dtype=torch.float64), []
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for folded in (False, True):
        if folded:
            fold_decoder(model, everywhere=True)
            model.load_state_dict(state)
        model.zero_grad()
        logits = model(image)
        logits.square().mean().backward()
        results.append([logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_gradients_of_a_folded_decoder_lie_in_memory_as_its_parameters() -> None:
    model = smp.create_model("unet", TINY, None, classes=5).to(memory_format=torch.channels_last)
    fold_decoder(model, everywhere=True)
    image = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    seen: list[tuple[int, ...]] = []
    for block in model.decoder.blocks:
        block.conv1[0].weight.register_hook(lambda gradient: seen.append(gradient.stride()))
    model(image).square().mean().backward()
    wanted = [block.conv1[0].weight.stride() for block in model.decoder.blocks]
    assert sorted(seen) == sorted(wanted)


def test_blocks_of_another_shape_are_left_alone() -> None:
    for options in ({"decoder_attention_type": "scse"}, {"decoder_interpolation": "bilinear"}):
        model = smp.create_model("unet", TINY, None, classes=5, **options)
        fold_decoder(model, everywhere=True)
        assert not any(isinstance(layer, FusedUpsampleBlock) for layer in model.modules())
    model = smp.create_model("unetplusplus", TINY, None, classes=5)
    fold_decoder(model, everywhere=True)
    assert not any(isinstance(layer, FusedUpsampleBlock) for layer in model.modules())
