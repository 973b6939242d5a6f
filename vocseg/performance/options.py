"""Performance options: memory format, compilation, CUDA graphs, fused kernels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from vocseg.errors import UserError
from vocseg.performance.cpu_conv import with_matmul_gradients
from vocseg.performance.cpu_unet_decoder import fold_decoder

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # as the kernel names what x86 and Arm processors can


@dataclass(frozen=True)
class PerformanceOptions:
    """Performance options. The precision is Lightning's `--trainer.precision`.

    Attributes:
        channels_last: Memory format channels_last.
        compile: Mode of torch.compile: default, reduce-overhead or max-autotune. null: no compilation.
            Compiling takes minutes and gains nothing on CPUs.
        cuda_graphs: Capture of steps as CUDA graphs on a single GPU.
        fused_optimizer: Fused optimizer step. null: where one exists.
        cpu_fuse_upsample: Fused upsampling and convolution in the U-Net decoder. null: on CPUs.
        cpu_matmul_conv_grad: Convolution weight gradients by matrix products on CPUs. null: for small bf16
            images, and in float32 on CPUs whose widest vectors are AVX2.
    """

    channels_last: bool = True
    compile: CompileMode | None = None
    cuda_graphs: bool = True
    fused_optimizer: bool | None = None
    cpu_fuse_upsample: bool | None = None
    cpu_matmul_conv_grad: bool | None = None

    def prepare(self, model: nn.Module) -> None:
        """Let a model be computed so; its parameters and their names stay.

        Args:
            model: Changed in place.
        """
        model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        if self.cpu_matmul_conv_grad is not False and self.channels_last:
            avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
            with_matmul_gradients(model, in_float32=self.cpu_matmul_conv_grad is True or avx2)
        if self.cpu_fuse_upsample is not False:
            fold_decoder(model, everywhere=self.cpu_fuse_upsample is True)
        if self.compile is not None:
            model.compile(mode=self.compile, dynamic=False)

    @property
    def use_compile(self) -> bool:
        """Whether the first step takes minutes."""
        return self.compile is not None

    @property
    def use_cuda_graphs(self) -> bool:
        """Whether steps are to be recorded; torch.compile has recordings of its own in one of its modes."""
        return self.cuda_graphs and self.compile != "reduce-overhead"

    def optimizer_options(self, device: torch.device, clips_mixed: bool = False) -> dict[str, Any]:
        """What torch's Adam, AdamW and SGD take besides.

        Args:
            device: Where the network is.
            clips_mixed: Whether gradients scaled for fp16 are clipped, which Lightning refuses where torch's
                one kernel divides by the scale; ours on a CPU does not.

        Raises:
            UserError: If both are asked for on a GPU.
        """
        refused = clips_mixed and device.type != "cpu"
        if self.fused_optimizer and refused:
            raise UserError(
                "--model.performance.fused_optimizer true: Lightning refuses it on this device with fp16 and "
                "--trainer.gradient_clip_val: leave it out"
            )
        there = device.type in ("cpu", "cuda") and not refused
        return {"fused": True} if (there if self.fused_optimizer is None else self.fused_optimizer) else {}


def precision_note(
    precision: str, device: torch.device, processor: Path = Path("/proc/cpuinfo")
) -> str | None:
    """A word on a precision that the processor only imitates; None: there is nothing to say.

    Args:
        precision: As in --trainer.precision.
        device: Where the network is.
        processor: Linux's description of it; where there is none, nothing is known.
    """
    if device.type != "cpu" or not precision.startswith("bf16") or not processor.is_file():
        return None
    if _BF16 & set(processor.read_text().split()):
        return None
    return (
        f"--trainer.precision {precision}: this processor has no bf16 instructions and imitates them, "
        "many times slower than 32-true; the figures will be right"
    )
