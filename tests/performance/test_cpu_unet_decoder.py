"""Fused upsampling and convolution against torch's own in double precision."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.nn import functional

from tests.conftest import TINY
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


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 7)])
def test_fused_convolution_equals_upsampling_and_convolution(size: tuple[int, int]) -> None:
    x, weight = _random(2, 5, *size), _random(4, 5, 3, 3)
    found = upsampled_conv(x, weight)
    wanted = functional.conv2d(functional.interpolate(x, scale_factor=2), weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    gradient = torch.randn_like(wanted)
    ours = torch.autograd.grad(found, (x, weight), gradient)
    theirs = torch.autograd.grad(wanted, (x, weight), gradient)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_kernels_folded_in_inference_mode_can_be_trained() -> None:
    _taps.cache_clear()
    x, weight = _random(1, 2, 4, 4), _random(3, 2, 3, 3)
    with torch.inference_mode():
        upsampled_conv(x, weight)
    assert torch.autograd.grad(upsampled_conv(x, weight).sum(), weight)[0].shape == weight.shape


def test_autocast_folds_kernels_in_full_precision() -> None:
    weight = torch.randn(3, 2, 3, 3)
    wanted = folded_kernels(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(folded_kernels(weight), wanted)
    torch.testing.assert_close(wanted[3:6, :, 1, 0], weight[:, :, 1:, :2].sum((2, 3)))  # even row, odd column


@pytest.mark.parametrize("encoder", [TINY, "mobilenet_v2"])
def test_fused_decoder_equals_smps_values_and_gradients(encoder: str) -> None:
    torch.manual_seed(0)
    model = smp.create_model("unet", encoder, None, classes=5).double()
    image, results = torch.randn(2, 3, 64, 64, dtype=torch.float64), []
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for folded in (False, True):
        if folded:
            fold_decoder(model)
            model.load_state_dict(state)
        model.zero_grad()
        logits = model(image)
        logits.square().mean().backward()
        results.append([logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_fused_decoder_gradients_keep_memory_format() -> None:
    model = smp.create_model("unet", TINY, None, classes=5).to(memory_format=torch.channels_last)
    fold_decoder(model)
    image = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    seen: list[tuple[int, ...]] = []
    for block in model.decoder.blocks:
        block.conv1[0].weight.register_hook(lambda gradient: seen.append(gradient.stride()))
    model(image).square().mean().backward()
    wanted = [block.conv1[0].weight.stride() for block in model.decoder.blocks]
    assert sorted(seen) == sorted(wanted)


def test_unsuitable_blocks_stay() -> None:
    attention, bilinear = {"decoder_attention_type": "scse"}, {"decoder_interpolation": "bilinear"}
    for arch, options in (("unet", attention), ("unet", bilinear), ("unetplusplus", {})):
        model = smp.create_model(arch, TINY, None, classes=5, **options)
        fold_decoder(model)
        assert not any(isinstance(layer, FusedUpsampleBlock) for layer in model.modules())
