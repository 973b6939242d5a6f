"""Performance options: memory format, compilation, CUDA graphs, fused kernels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from vocseg.performance.cpu_unet_decoder import fold_decoder

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # flags in /proc/cpuinfo of x86 and Arm processors


@dataclass(frozen=True)
class PerformanceOptions:
    """Performance options. The precision is Lightning's `--trainer.precision`.

    Attributes:
        channels_last: Memory format channels_last.
        compile: Mode of torch.compile: default, reduce-overhead or max-autotune. null: no compilation.
            Compiling takes minutes and gains nothing on CPUs.
        cuda_graphs: Capture of steps as CUDA graphs on a single GPU.
        fused_optimizer: Fused optimizer step where one exists.
        cpu_fuse_upsample: Fused upsampling and convolution in the U-Net decoder on CPUs.
    """

    channels_last: bool = True
    compile: CompileMode | None = None
    cuda_graphs: bool = True
    fused_optimizer: bool = True
    cpu_fuse_upsample: bool = True

    def prepare(self, model: nn.Module) -> None:
        """Apply the options to a model of smp in place. Parameters and their names stay."""
        model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        if self.cpu_fuse_upsample:
            fold_decoder(model)
        if self.compile is not None:
            model.compile(mode=self.compile, dynamic=False)

    @property
    def use_compile(self) -> bool:
        """Whether the model is compiled, which makes the first step slow."""
        return self.compile is not None

    @property
    def use_cuda_graphs(self) -> bool:
        """Whether steps may be captured. torch.compile's reduce-overhead captures its own."""
        return self.cuda_graphs and self.compile != "reduce-overhead"

    def optimizer_options(self, device: torch.device, clips_scaled: bool = False) -> dict[str, Any]:
        """Return further arguments of torch's optimizers, for the network's device.

        `clips_scaled`: whether gradients scaled for fp16 are clipped, which Lightning refuses with fused
        optimizers.
        """
        exists = device.type in ("cpu", "cuda") and not clips_scaled
        return {"fused": True} if self.fused_optimizer and exists else {}


def precision_note(precision: str, device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return a warning about a precision that the processor emulates, or None.

    Args:
        precision: As in --trainer.precision.
        device: Device of the network.
        cpuinfo: Linux's description of the processor. Without it nothing is known.
    """
    if device.type != "cpu" or not precision.startswith("bf16") or not cpuinfo.is_file():
        return None
    if _BF16 & set(cpuinfo.read_text().split()):
        return None
    return (
        f"--trainer.precision {precision}: this processor has no bf16 instructions and emulates them, "
        "many times slower than 32-true; results are correct"
    )
