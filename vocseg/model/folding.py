"""U-Net's decoder blocks with fewer multiplications: the same sums of the same parameters."""

from collections.abc import Callable
from typing import Any

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn
from torch.nn import functional

from vocseg.model.convolution import conv2d_of


class FoldedBlock(UnetDecoderBlock):  # type: ignore[misc]  # smp has no types
    """smp's block, whose first convolution takes what is upsampled and what is skipped one by one."""

    everywhere: bool  # or on a CPU alone

    def forward(
        self,
        feature_map: Tensor,
        target_height: int,
        target_width: int,
        skip_connection: Tensor | None = None,
    ) -> Tensor:
        """See smp's: upsample, put the skip connection beside it, convolve twice."""
        doubled = (2 * feature_map.shape[2], 2 * feature_map.shape[3]) == (target_height, target_width)
        here = self.everywhere or feature_map.device.type == "cpu"
        if not (doubled and here) or torch.compiler.is_compiling():
            whole: Tensor = super().forward(feature_map, target_height, target_width, skip_connection)
            return whole
        conv, norm, activation = self.conv1
        convolve, channels = conv2d_of(conv, feature_map), feature_map.shape[1]
        x = upsampled_conv(feature_map, conv.weight[:, :channels], convolve)
        if skip_connection is not None:
            x = x + convolve(skip_connection, conv.weight[:, channels:], None, 1, 1)
        folded: Tensor = self.attention2(self.conv2(activation(norm(x))))
        return folded


def upsampled_conv(x: Tensor, weight: Tensor, conv2d: Callable[..., Tensor] = functional.conv2d) -> Tensor:
    """`conv2d(interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)`, in 16 products for 36.

    A 3x3 window on an image whose pixels are doubled sees 2x2 pixels of the small one. Which of the kernel's
    rows fall together depends on whether the output's row is even or odd, and so for columns: four kernels of
    2x2, whose outputs are interleaved.

    Args:
        x: `[N,C,H,W]`.
        weight: `[K,C,3,3]`.
        conv2d: What convolves.

    Returns:
        `[N,K,2H,2W]`.
    """
    (n, _, h, w), k = x.shape, weight.shape[0]
    kernels = torch.stack([_folded(rows, 3) for rows in _folded(weight, 2)])  # [2,2,K,C,2,2]
    phases = conv2d(x, kernels.flatten(0, 2), None, 1, 1)  # [N,4K,H+1,W+1]
    even, odd = phases.permute(0, 2, 3, 1).reshape(n, h + 1, w + 1, 2, 2, k).unbind(3)
    rows = [
        torch.stack((each[:, :, :w, 0], each[:, :, 1:, 1]), 3)  # [N,H,W,2,K]
        for each in (even[:, :h], odd[:, 1:])
    ]
    return torch.stack(rows, 2).reshape(n, 2 * h, 2 * w, k).permute(0, 3, 1, 2)


def _folded(kernel: Tensor, axis: int) -> Tensor:
    """Two kernels of 2 along an axis for one of 3: for even and for odd places of the output."""
    first, second, third = kernel.unbind(axis)
    even, odd = torch.stack((first, second + third), axis), torch.stack((first + second, third), axis)
    return torch.stack((even, odd))


def fold_decoder(model: nn.Module, everywhere: bool) -> None:
    """Put `FoldedBlock` for smp's blocks of the known shape; parameters and their names stay.

    Args:
        model: Changed in place; a model without such blocks stays as it is.
        everywhere: On all devices; else on a CPU alone.
    """
    for block in model.modules():
        if type(block) is UnetDecoderBlock and _known(block):
            block.__class__ = FoldedBlock
            block.everywhere = everywhere  # type: ignore[assignment]


def _known(block: Any) -> bool:
    """Nearest neighbours, nothing between them and a plain 3x3 convolution with neither groups nor bias."""
    conv: nn.Conv2d = block.conv1[0]
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and conv.padding_mode == "zeros"
    nothing = isinstance(block.attention1.attention, nn.Identity)
    return plain and conv.bias is None and nothing and block.interpolation_mode == "nearest"
