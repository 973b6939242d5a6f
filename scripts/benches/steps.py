"""Parts of a training step: bare loops over our network, and runs of `fit`, in turns."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from benches.fitting import Steps, fit
from benches.machine import KINDS, Clock, Waits, conv_peak, memory
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from vocseg.metrics.confusion import confusion_matrices
from vocseg.models.network import build_network
from vocseg.performance.cuda_graph import CudaGraphCache
from vocseg.performance.options import PerformanceOptions

ONE_STEP = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --trainer.max_epochs 1".split()
PHASES = ("data", "forward", "backward", "optimiser", "counting")
Marks = list[object]  # moments before, between and after the phases


def endless(loader: Iterable, device: str) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        for batch in loader:
            yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def computed_step(module, forward: Callable, optimizer, batches, precision, clock: Clock) -> Marks:
    """One step of the same maths as `fit`'s; `precision` is Lightning's plugin."""
    marks = [clock.mark()]
    batch = next(batches)
    marks.append(clock.mark())
    with precision.forward_context():
        logits, loss = forward(batch["image"], batch["mask"])
    optimizer.zero_grad()
    marks.append(clock.mark())
    loss.backward()
    marks.append(clock.mark())
    optimizer.step()
    marks.append(clock.mark())
    confusion_matrices(logits.detach().argmax(1).to(torch.uint8), batch["mask"], module.num_classes)
    return [*marks, clock.mark()]


def replayed_step(
    network, compute, graphs: CudaGraphCache, optimizer, batches, precision, clock: Clock
) -> Marks:
    """The same captured as a CUDA graph."""
    start = clock.mark()
    batch = next(batches)
    with precision.forward_context():
        tensors = graphs(compute, batch["image"], batch["mask"], network)
    optimizer.zero_grad()
    if not graphs.assign_gradients():
        tensors.loss.backward()
    optimizer.step()
    return [start, clock.mark()]


def bare_loops(words, module, precision, batches) -> dict[str, Callable[[], Marks]]:
    """Steps by the way that they are computed."""

    def forward(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = module(image)
        return logits, module.loss(logits, mask).loss

    rest = module.configure_optimizers()["optimizer"], batches, precision, Clock(words.device)
    loops = {"computed": partial(computed_step, module, forward, *rest)}
    if words.device == "cuda":
        loops["captured"] = partial(replayed_step, module.network, module._compute, CudaGraphCache(), *rest)
    if words.compiled:
        mode = "reduce-overhead" if words.device == "cuda" else None
        loops["compiled"] = partial(computed_step, module, torch.compile(forward, mode=mode), *rest)
    return loops


def counted_flops(words) -> int:
    """FLOPs of forward and backward in plain smp and torch, which our kernels must not make fewer."""
    plain = build_network("unet", words.encoder, None, 21, PerformanceOptions(cpu_fuse_upsample=False))
    image = torch.zeros(words.batch, 3, words.size, words.size, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        plain(image).sum().backward()
    return counter.get_total_flops()


def fitted(words, root: Path, folder: Path, warm: int) -> tuple[float, dict[str, float] | None]:
    """Seconds of a step of `fit` (median), and the places where it waited for a GPU."""
    clock, waits = Clock(words.device), Waits(warm)
    steps, watched = Steps(clock), [waits] if words.device == "cuda" else []
    most = ["--trainer.max_steps", str(warm + words.steps + 1), "--trainer.max_epochs", "-1"]
    fit(words, root, folder, [steps, *watched], *most, "--trainer.limit_val_batches", "1")
    seconds = [clock.between(a, b) for a, b in pairwise(steps.begun)][warm:]
    return statistics.median(seconds), waits.results() if watched else None


def measured(words, root: Path, folder: Path) -> dict[str, object]:
    """Phases, peaks, waits and the cost of Lightning's loop."""
    warm, clock = 2 if words.device == "cpu" else 8, Clock(words.device)
    cli = fit(words, root, folder, [], *ONE_STEP)
    module, precision = cli.model.train().to(words.device), cli.trainer.precision_plugin
    loops = bare_loops(words, module, precision, endless(cli.datamodule.train_dataloader(), words.device))
    peaks, marks = dict.fromkeys(KINDS, 0.0), {name: [] for name in loops}
    ratios, fits = {name: [] for name in loops}, []
    for _ in range(words.rounds):
        peaks = {name: max(peaks[name], conv_peak(kind, words.device)) for name, kind in KINDS.items()}
        newest = {name: [step() for _ in range(warm + words.steps)][warm:] for name, step in loops.items()}
        seconds, waits = fitted(words, root, folder, warm)
        fits.append(seconds)
        for name, each in newest.items():
            marks[name] += each
            ratios[name].append(seconds / statistics.median(clock.between(m[0], m[-1]) for m in each))
    bare = {name: statistics.median(clock.between(m[0], m[-1]) for m in each) for name, each in marks.items()}
    phases = [[clock.between(a, b) for a, b in pairwise(each)] for each in marks["computed"]]
    fractions = {
        name: statistics.median(each[k] / sum(each) for each in phases) for k, name in enumerate(PHASES)
    }
    rate = counted_flops(words) / (bare["computed"] * (fractions["forward"] + fractions["backward"]))
    kind = "bf16" if str(cli.trainer.precision).startswith("bf16") else "fp32"
    return {
        "device": torch.cuda.get_device_name() if words.device == "cuda" else "cpu",
        "precision": str(cli.trainer.precision),
        "bare_images_per_s": {name: words.batch / seconds for name, seconds in bare.items()},
        "fit_images_per_s": words.batch / statistics.median(fits),
        "fractions": fractions,
        "conv_peak_gflops": {name: value / 1e9 for name, value in peaks.items()},
        "gflops": rate / 1e9,
        "fraction_of_conv_peak": rate / peaks[kind],
        "fit_over_bare_loops": {name: statistics.median(each) for name, each in ratios.items()},
        "waits_per_step": waits,
    } | memory(words.device)


def kernels(words, root: Path, folder: Path, most: int = 30) -> dict[str, object]:
    """Milliseconds a step by kernel (on a CPU by operation), without and with cuDNN's search for algorithms.

    Three batches stay in the device's memory, so that loading of data is not measured.
    """
    cli = fit(words, root, folder, [], *ONE_STEP)
    module, precision = cli.model.train().to(words.device), cli.trainer.precision_plugin
    held = list(itertools.islice(endless(cli.datamodule.train_dataloader(), words.device), 3))
    on_gpu, found = words.device == "cuda", {}
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    before = torch.backends.cudnn.benchmark
    try:
        for searches in (False, True) if on_gpu else (False,):
            torch.backends.cudnn.benchmark = searches
            loops = bare_loops(words, module, precision, itertools.cycle(held))
            step, clock = loops["captured" if on_gpu else "computed"], Clock(words.device)
            marks = [step() for _ in range(8 + words.steps)][8:]
            with profile(activities=[activity]) as profiler:
                for _ in range(5):
                    step()
                if on_gpu:
                    torch.cuda.synchronize()
            spent = "self_device_time_total" if on_gpu else "self_cpu_time_total"
            table = sorted(profiler.key_averages(), key=lambda row: -getattr(row, spent))[:most]
            found["with cuDNN's search" if searches else "as it comes"] = {
                "step_ms": 1000 * statistics.median(clock.between(m[0], m[-1]) for m in marks),
                "kernels": [[getattr(row, spent) / 5000, row.count / 5, row.key[:110]] for row in table],
            }
    finally:
        torch.backends.cudnn.benchmark = before
    return found
