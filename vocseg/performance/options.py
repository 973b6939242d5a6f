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
    """How the network is computed; precision is Lightning's `--trainer.precision`.

    Attributes:
        channels_last: A pixel's channels side by side in memory, as convolutions on most processors like it.
        compile: Let torch.compile make what trains: `default`, `reduce-overhead` (CUDA graphs, for small
            batches on a GPU) or `max-autotune`; takes minutes at first, and on a CPU it does not pay.
        capture: On one GPU, record a step once and replay it: the same kernels without a launch for each.
        fused: The optimiser's step in one kernel; null: wherever there is one.
        fold: U-Net's decoder with upsampling and convolution in one; null: on a CPU.
        matmul_gradients: Gradients of convolutions' weights by matrix products, on a CPU: in bf16 for small
            images, in float32 always; null: there only where a CPU's widest vectors are AVX2's.
    """

    channels_last: bool = True
    compile: CompileMode | None = None
    capture: bool = True
    fused: bool | None = None
    fold: bool | None = None
    matmul_gradients: bool | None = None

    def prepare(self, model: nn.Module) -> None:
        """Let a model be computed so; its parameters and their names stay.

        Args:
            model: Changed in place.
        """
        model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        if self.matmul_gradients is not False and self.channels_last:
            avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
            with_matmul_gradients(model, in_float32=self.matmul_gradients is True or avx2)
        if self.fold is not False:
            fold_decoder(model, everywhere=self.fold is True)
        if self.compile is not None:
            model.compile(mode=self.compile, dynamic=False)

    @property
    def use_compile(self) -> bool:
        """Whether the first step takes minutes."""
        return self.compile is not None

    @property
    def use_cuda_graphs(self) -> bool:
        """Whether steps are to be recorded; torch.compile has recordings of its own in one of its modes."""
        return self.capture and self.compile != "reduce-overhead"

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
        if self.fused and refused:
            raise UserError(
                "--model.execution.fused true: Lightning refuses it on this device with fp16 and "
                "--trainer.gradient_clip_val: leave it out"
            )
        there = device.type in ("cpu", "cuda") and not refused
        return {"fused": True} if (there if self.fused is None else self.fused) else {}


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
