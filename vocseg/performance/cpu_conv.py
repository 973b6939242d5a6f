"""Convolution gradients by matrix products on CPUs.

Faster than oneDNN in float32 on CPUs without AVX-512, and in bf16 for many channels and small images.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_BLOCK = 1 << 21  # bytes of patches at once, to stay in the processor's cache
_SMALL = 5 << 20  # bytes of all patches up to which bf16 gains: 4 images of 256 channels at 16x16


class _Convolution(torch.autograd.Function):
    """`conv2d` without groups or dilation. oneDNN computes all but the gradient of the weights.

    Without AVX-512, oneDNN's kernel for that gradient is made for other layouts than channels-last and takes
    up to twice the time.
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
    """Equal `conv2d` bitwise, with weight gradients by matrix products.

    Args:
        x: `[N,C,H,W]`.
        weight: `[K,C,R,S]`.
        bias: `[K]`.
        stride: Stride of both axes.
        padding: Zero padding of every side.

    Returns:
        `[N,K,H',W']`.
    """
    result: Tensor = _Convolution.apply(x, weight, bias, stride, padding)
    return result


def weight_gradient(x: Tensor, gradient: Tensor, kernel: torch.Size, stride: int, padding: int) -> Tensor:
    """Compute the weight gradient of a convolution: input patches times output gradient.

    Args:
        x: Input `[N,C,H,W]`.
        gradient: Gradient of the output, `[N,K,H',W']`.
        kernel: Height R and width S of the kernel.
        stride: Stride of both axes.
        padding: Zero padding of every side.

    Returns:
        `[K,C,R,S]`, channels-last.
    """
    (n, c), (k, h, w), (r, s) = x.shape[:2], gradient.shape[1:], kernel
    x = functional.pad(x.permute(0, 2, 3, 1), (0, 0, *(padding,) * 4)).contiguous()  # [N,H+2p,W+2p,C]
    image, row, column, _ = x.stride()
    # A row of a patch is a contiguous run of S*C numbers.
    patches = x.as_strided((n, h, w, r, s * c), (image, row * stride, column * stride, row, 1))
    outputs = gradient.permute(0, 2, 3, 1)  # [N,H',W',K]
    total = x.new_zeros(k, r * s * c)
    whole = x.dtype == torch.bfloat16  # sums of blocks would add rounding
    for at in _blocks(n, h, 0 if whole else w * r * s * c * x.element_size()):
        total.addmm_(outputs[at].reshape(-1, k).t(), patches[at].reshape(-1, r * s * c))
    return total.view(k, r, s, c).permute(0, 3, 1, 2)


def _blocks(images: int, rows: int, row_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Split a batch into blocks of images, or of rows of one image. 0 bytes: one block."""
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
    """`conv2d` under autocast to bf16, or `convolution` for small images.

    For these, oneDNN's kernel for the weight gradient takes up to twice the time.
    """
    x, weight = x.bfloat16(), weight.bfloat16()
    places = x[:, 0].numel() // stride**2  # pixels of the output, roughly
    small = places * weight[0].numel() * weight.element_size() <= _SMALL
    convolve: Callable[..., Tensor] = convolution if small else functional.conv2d
    return convolve(x, weight, None if bias is None else bias.bfloat16(), stride, padding)


class MatmulGradConv2d(nn.Conv2d):
    """Conv2d with weight gradients by matrix products in training on a CPU."""

    in_float32: bool  # False: in bf16 only

    def forward(self, input: Tensor) -> Tensor:
        """`[N,C,H,W]` to `[N,K,H',W']`."""
        convolve = conv2d_of(self, input)
        return convolve(input, self.weight, self.bias, int(self.stride[0]), int(self.padding[0]))


def conv2d_of(layer: nn.Conv2d, x: Tensor) -> Callable[..., Tensor]:
    """Return the convolution function for a layer and its input.

    Args:
        layer: Layer.
        x: Input.
    """
    trained = isinstance(layer, MatmulGradConv2d) and layer.weight.requires_grad and torch.is_grad_enabled()
    if not trained or x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.conv2d
    if torch.is_autocast_enabled("cpu"):
        bf16 = torch.get_autocast_dtype("cpu") == torch.bfloat16
        return small_in_bf16 if bf16 else functional.conv2d
    return convolution if layer.in_float32 and x.dtype == torch.float32 else functional.conv2d


def with_matmul_gradients(model: nn.Module, in_float32: bool = True) -> None:
    """Replace suitable layers by `MatmulGradConv2d` in place. Parameters and their names stay.

    Args:
        model: Model.
        in_float32: In float32 too. False: in bf16 only.
    """
    for layer in model.modules():
        if type(layer) is nn.Conv2d and _regular(layer):
            layer.__class__ = MatmulGradConv2d
            layer.in_float32 = in_float32  # type: ignore[assignment]


def _regular(layer: nn.Conv2d) -> bool:
    """Whether a layer has equal axes, no groups or dilation, and no 1x1 kernel."""
    alike = layer.stride[0] == layer.stride[1] and layer.padding_mode == "zeros"
    alike = alike and not isinstance(layer.padding, str) and layer.padding[0] == layer.padding[1]
    return alike and layer.groups == 1 and layer.dilation == (1, 1) and layer.kernel_size != (1, 1)
