"""Fused upsampling and convolution of the U-Net decoder on CPUs."""

from functools import cache
from typing import Any

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_TAPS = (  # which of 3 kernel rows fall on the first and on the second row of the small image
    ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)),  # for even output rows
    ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)),  # for odd output rows
)
_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))  # even or odd row and column


class FusedUpsampleBlock(UnetDecoderBlock):  # type: ignore[misc]  # smp has no types
    """Decoder block of smp whose first convolution takes upsampled and skipped features apart, on CPUs."""

    def forward(
        self,
        feature_map: Tensor,
        target_height: int,
        target_width: int,
        skip_connection: Tensor | None = None,
    ) -> Tensor:
        """Upsample, concatenate the skip connection, convolve twice."""
        doubled = (2 * feature_map.shape[2], 2 * feature_map.shape[3]) == (target_height, target_width)
        if not doubled or feature_map.device.type != "cpu" or torch.compiler.is_compiling():
            whole: Tensor = super().forward(feature_map, target_height, target_width, skip_connection)
            return whole
        conv, norm, activation = self.conv1
        channels = feature_map.shape[1]
        skipped = conv.weight.shape[1] - channels
        # Split, not sliced: gradients of slices are zero-padded and summed, in another memory format.
        of_map, *of_skip = conv.weight.split(channels if skip_connection is None else [channels, skipped], 1)
        x = upsampled_conv(feature_map, of_map)
        if skip_connection is not None:
            x = x + functional.conv2d(skip_connection, of_skip[0], padding=1)
        folded: Tensor = self.attention2(self.conv2(activation(norm(x))))
        return folded


def upsampled_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Compute `conv2d(interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)` with 16/36 FLOPs.

    A 3x3 window on an image of doubled pixels covers 2x2 pixels of the small image. Which kernel rows fall
    together depends on the parity of the output row, likewise for columns. That makes four 2x2 kernels, whose
    outputs are interleaved.

    Args:
        x: `[N,C,H,W]`.
        weight: `[K,C,3,3]`.

    Returns:
        `[N,K,2H,2W]`.
    """
    return _Interleaved.apply(functional.conv2d(x, folded_kernels(weight), padding=1))  # type: ignore[no-any-return]


def folded_kernels(weight: Tensor) -> Tensor:
    """Sum kernels `[K,C,3,3]` to four kernels `[4K,C,2,2]` on an image of half the size, channels-last.

    Those of even output rows come first.
    """
    k, c = weight.shape[:2]
    with torch.autocast(weight.device.type, enabled=False):  # rounded once, as the weights are
        kernels = _taps(weight.dtype, weight.device) @ weight.permute(0, 2, 3, 1).reshape(k, 9, c)  # [K,16,C]
    return kernels.view(k, 4, 4, c).transpose(0, 1).reshape(4 * k, 2, 2, c).permute(0, 3, 1, 2)


@cache
def _taps(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix from 3x3 kernels to the four 2x2 kernels, `[16,9]`."""
    with torch.inference_mode(False):  # training cannot use inference tensors
        rows = torch.tensor(_TAPS, dtype=dtype, device=device)  # [2,2,3]
        return torch.einsum("pas,qbt->pqabst", rows, rows).reshape(16, 9)


class _Interleaved(torch.autograd.Function):
    """Interleaving of the four outputs with one copy, where autograd would make two."""

    @staticmethod
    def forward(ctx: Any, phases: Tensor) -> Tensor:
        """`[N,4K,H+1,W+1]` to `[N,K,2H,2W]`."""
        n, k, h, w = phases.shape[0], phases.shape[1] // 4, phases.shape[2] - 1, phases.shape[3] - 1
        four = phases.permute(0, 2, 3, 1).reshape(n, h + 1, w + 1, 2, 2, k)
        whole = phases.new_empty(n, h, 2, w, 2, k)
        for row, column in _PHASES:
            whole[:, :, row, :, column] = four[:, row : row + h, column : column + w, row, column]
        return whole.view(n, 2 * h, 2 * w, k).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable  # type: ignore[misc, untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """`[N,K,2H,2W]` to `[N,4K,H+1,W+1]`: a border of each output is outside of the image."""
        n, k, h, w = gradient.shape
        h, w = h // 2, w // 2
        whole = gradient.permute(0, 2, 3, 1).reshape(n, h, 2, w, 2, k)
        four = gradient.new_zeros(n, h + 1, w + 1, 2, 2, k)
        for row, column in _PHASES:
            four[:, row : row + h, column : column + w, row, column] = whole[:, :, row, :, column]
        return four.view(n, h + 1, w + 1, 4 * k).permute(0, 3, 1, 2)


def fold_decoder(model: nn.Module) -> None:
    """Replace suitable decoder blocks by `FusedUpsampleBlock` in place. Parameters and their names stay."""
    for block in model.modules():
        if type(block) is UnetDecoderBlock and _known(block):
            block.__class__ = FusedUpsampleBlock


def _known(block: Any) -> bool:
    """Whether a block upsamples by nearest neighbours into a plain 3x3 convolution without bias."""
    conv: nn.Conv2d = block.conv1[0]
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and conv.padding_mode == "zeros"
    nothing = isinstance(block.attention1.attention, nn.Identity)
    return plain and conv.bias is None and nothing and block.interpolation_mode == "nearest"
