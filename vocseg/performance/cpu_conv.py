"""Convolution gradients by matrix products on CPUs.

In float32 it is on CPUs without AVX-512; in bf16 it is for layers of many channels and small images.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_BLOCK = 1 << 21  # bytes of patches laid out at once: more than that falls out of the cache
_SMALL = 5 << 20  # bytes of all patches up to which bf16 gains: of 4 images 256 channels at 16x16


class _Convolution(torch.autograd.Function):
    """`conv2d` without groups or dilation; oneDNN does all but the gradient of the weights.

    oneDNN's kernel for that one is written for other layouts than channels-last where there is no AVX-512,
    and takes up to twice the time there.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.bias = stride, padding, bias is not None
        return functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable  # type: ignore[misc, untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        wanted = [ctx.needs_input_grad[0], False, False]
        found = None
        if wanted[0]:
            pairs = [[ctx.stride] * 2, [ctx.padding] * 2, [1, 1]]
            backward = torch.ops.aten.convolution_backward
            found = backward(gradient, x, weight, None, *pairs, False, [0, 0], 1, wanted)[0]
        of_weight = weight_gradient(x, gradient, weight.shape[2:], ctx.stride, ctx.padding)
        return found, of_weight, gradient.sum((0, 2, 3)) if ctx.bias else None, None, None


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """As torch's `conv2d`, and its values to the bit; the gradient of the weights by matrix products.

    Args:
        x: `[N,C,H,W]`.
        weight: `[K,C,R,S]`.
        bias: `[K]`.
        stride: Of both axes.
        padding: Zeros on every side.

    Returns:
        `[N,K,H',W']`.
    """
    result: Tensor = _Convolution.apply(x, weight, bias, stride, padding)
    return result


def weight_gradient(x: Tensor, gradient: Tensor, kernel: torch.Size, stride: int, padding: int) -> Tensor:
    """What the weights of a convolution get: patches of its input times the gradient of its output.

    Args:
        x: Its input `[N,C,H,W]`.
        gradient: Of its output, `[N,K,H',W']`.
        kernel: Height R and width S of its kernel.
        stride: Of both axes.
        padding: Zeros on every side.

    Returns:
        `[K,C,R,S]`, channels-last.
    """
    (n, c), (k, h, w), (r, s) = x.shape[:2], gradient.shape[1:], kernel
    x = functional.pad(x.permute(0, 2, 3, 1), (0, 0, *(padding,) * 4)).contiguous()  # [N,H+2p,W+2p,C]
    image, row, column, _ = x.stride()
    # A patch's row is a run of S*C numbers, so that laying patches out copies whole runs.
    patches = x.as_strided((n, h, w, r, s * c), (image, row * stride, column * stride, row, 1))
    outputs = gradient.permute(0, 2, 3, 1)  # [N,H',W',K]
    total = x.new_zeros(k, r * s * c)
    whole = x.dtype == torch.bfloat16  # sums of blocks would be rounded once more
    for at in _blocks(n, h, 0 if whole else w * r * s * c * x.element_size()):
        total.addmm_(outputs[at].reshape(-1, k).t(), patches[at].reshape(-1, r * s * c))
    return total.view(k, r, s, c).permute(0, 3, 1, 2)


def _blocks(images: int, rows: int, row_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a batch: some whole images or some rows of one; of rows of 0 bytes, the whole batch."""
    fit = max(1, _BLOCK // row_bytes) if row_bytes else images * rows
    if fit >= rows:
        step = fit // rows
        yield from ((slice(at, at + step), slice(None)) for at in range(0, images, step))
        return
    for image in range(images):
        yield from ((slice(image, image + 1), slice(at, at + fit)) for at in range(0, rows, fit))


def small_in_bf16(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """As torch's `conv2d` under autocast to bf16; where images are small, as `convolution`.

    oneDNN's kernel for the gradient of the weights takes up to twice the time there.
    """
    x, weight = x.bfloat16(), weight.bfloat16()
    places = x[:, 0].numel() // stride**2  # of the output, but for the edges
    small = places * weight[0].numel() * weight.element_size() <= _SMALL
    convolve: Callable[..., Tensor] = convolution if small else functional.conv2d
    return convolve(x, weight, None if bias is None else bias.bfloat16(), stride, padding)


class MatmulGradConv2d(nn.Conv2d):
    """torch's layer, trained on a CPU as above; anywhere else it is torch's."""

    in_float32: bool  # or in bf16 alone

    def forward(self, input: Tensor) -> Tensor:
        """`[N,C,H,W]` to `[N,K,H',W']`."""
        convolve = conv2d_of(self, input)
        return convolve(input, self.weight, self.bias, int(self.stride[0]), int(self.padding[0]))


def conv2d_of(layer: nn.Conv2d, x: Tensor) -> Callable[..., Tensor]:
    """The function by which a layer convolves an input: one of the above or torch's.

    Args:
        layer: The layer.
        x: Its input.
    """
    trained = isinstance(layer, MatmulGradConv2d) and layer.weight.requires_grad and torch.is_grad_enabled()
    if not trained or x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.conv2d
    if torch.is_autocast_enabled("cpu"):
        bf16 = torch.get_autocast_dtype("cpu") == torch.bfloat16
        return small_in_bf16 if bf16 else functional.conv2d
    return convolution if layer.in_float32 and x.dtype == torch.float32 else functional.conv2d


def with_matmul_gradients(model: nn.Module, in_float32: bool = True) -> None:
    """Put `MatmulGradConv2d` where it can serve; parameters and their names stay.

    Args:
        model: Changed in place.
        in_float32: In float32 too, and not in bf16 alone.
    """
    for layer in model.modules():
        if type(layer) is nn.Conv2d and _regular(layer):
            layer.__class__ = MatmulGradConv2d
            layer.in_float32 = in_float32  # type: ignore[assignment]


def _regular(layer: nn.Conv2d) -> bool:
    """Whether both axes are alike, there are no groups, and the kernel is more than a point."""
    alike = layer.stride[0] == layer.stride[1] and layer.padding_mode == "zeros"
    alike = alike and not isinstance(layer.padding, str) and layer.padding[0] == layer.padding[1]
    return alike and layer.groups == 1 and layer.dilation == (1, 1) and layer.kernel_size != (1, 1)
