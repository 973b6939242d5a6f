"""Clocks, peaks, memory and waits of a machine."""

import math
import resource
import time
import warnings
from collections import Counter
from pathlib import Path

import torch
from lightning.pytorch import Callback

IMAGES, KERNELS = (4, 256, 64, 64), (256, 256, 3, 3)  # shapes of the convolution of `conv_peak`
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Clock:
    """Moments of the device. A mark does not wait; the time between two includes a GPU's gaps."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"

    def mark(self) -> object:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start, end) -> float:
        """Seconds."""
        if not self.on_gpu:
            return end - start
        end.synchronize()
        return start.elapsed_time(end) / 1000


def conv_peak(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of the best of five convolutions; on a GPU each is 50, as one is no longer than its launch."""
    clock, times = Clock(device), 1 if device == "cpu" else 50
    x, weight = (
        torch.randn(shape, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
        for shape in (IMAGES, KERNELS)
    )
    seconds = []
    with torch.no_grad():
        for _ in range(5):
            start = clock.mark()
            for _ in range(times):
                torch.nn.functional.conv2d(x, weight, padding=1)
            seconds.append(clock.between(start, clock.mark()))
    flops = 2 * IMAGES[0] * IMAGES[2] * IMAGES[3] * math.prod(KERNELS)
    return times * flops / min(seconds)


def matrix_peak(dtype: torch.dtype, tf32: bool = False, edge: int = 8192) -> float:
    """FLOP/s of a GPU's matrix product, the best of five, on random numbers."""
    clock = Clock("cuda")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(edge, edge, dtype=dtype, device="cuda") for _ in range(2))
    seconds = []
    for _ in range(6):
        start = clock.mark()
        for _ in range(4):
            a @ b
        seconds.append(clock.between(start, clock.mark()))
    torch.backends.cuda.matmul.allow_tf32 = before
    return 4 * 2 * edge**3 / min(seconds[1:])


def copy_peak(size: int = 2**31) -> float:
    """Bytes a second, read and written, of a copy within a GPU's memory."""
    clock, source = Clock("cuda"), torch.empty(size, dtype=torch.uint8, device="cuda").random_()
    target, seconds = torch.empty_like(source), []
    for _ in range(4):
        start = clock.mark()
        target.copy_(source)
        seconds.append(clock.between(start, clock.mark()))
    return 2 * size / min(seconds[1:])


def memory(device: str) -> dict[str, float]:
    """Highest memory of this process so far, in GiB."""
    found = {"peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if device == "cuda":
        found["peak_gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


class Waits(Callback):
    """Lines of a run that made it wait for the GPU, in training steps after the first few."""

    def __init__(self, after: int) -> None:
        self.after, self.begun, self.watched, self.places = after, 0, 0, Counter()
        self._caught: warnings.catch_warnings | None = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.begun += 1
        if self.begun > self.after and self._caught is None:
            self._caught = warnings.catch_warnings(record=True)
            self._list = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        self.watched += self._caught is not None

    def on_train_epoch_end(self, *_: object) -> None:
        if self._caught is not None:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(None, None, None)
            waits = [each for each in self._list if "synchronizing" in str(each.message)]
            self.places.update(f"{Path(each.filename).name}:{each.lineno}" for each in waits)
            self._caught = None

    on_validation_start = on_train_end = on_train_epoch_end

    def results(self) -> dict[str, float]:
        """Waits a step by place."""
        return {place: times / max(1, self.watched) for place, times in self.places.most_common()}
