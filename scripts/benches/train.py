"""Training steps and epochs, against the limits of this machine and a notebook's loop.

Usage: scripts/bench train [--root FOLDER] [--baseline FILE] [--device cpu|cuda] [--batch 4] [--limit 24]
                           [--steps N] [--rounds 3] [--compiled] [--json FILE] [FLAGS OF fit]

FLAGS OF fit set how to train: `--config fast` gives bf16 where the processor has it; the default is fp32.
It uses one thread unless --threads is given, and one GPU if there is one. On the same images it measures:
phases: a bare loop over our network: data, forward, backward, optimiser, counting. And the fraction of the
  machine's convolution peak that forward and backward reach (4x256x64x64, 3x3, fp32 and bf16, channels-last;
  the best of all rounds).
fit: the cost of Lightning's loop with all callbacks against that bare loop, a step, without warm-up. On a GPU
  also against a bare loop that replays a captured step, and the lines that made the host wait for the GPU.
  With --compiled also against a step by torch.compile, which takes minutes to compile.
memory: the highest resident memory of this process, and of a GPU.
epochs: whole epochs of training and validation in processes, in turns with --baseline. That is a script that
  takes --root, --limit, --epochs, --batch-size, --workers, --threads and --size. It ends with a line of JSON
  that holds `epoch_s`. The best of its settings of --workers counts (--baseline-workers), and each round
  gives one ratio. Ours has all callbacks, panels and logs in it, from the first training step to the end of
  validation. What fit does once before and after (checking data, writing checkpoints) is left out, as the
  baseline does none of it. --limit 0 takes all images. With --epochs N, a round is the mean of N epochs.
"""

import argparse
import json
import logging
import tempfile
import warnings
from pathlib import Path

import torch
from benches import epochs, steps
from rich.console import Console
from rich.table import Table

from vocseg.data import voc
from vocseg.data.synthetic import write_sample


def show(results: dict, words) -> None:
    step = results["step"]
    where = f"{words.threads} thread{'s' * (words.threads > 1)}" if words.device == "cpu" else step["device"]
    images = f"{words.batch} images of {words.size}x{words.size}"
    title = f"unet with {words.encoder}, {images}, {step['precision']}, {where}"
    table = Table("", "", title=title, min_width=len(title))
    table.add_row("training, fit", f"{step['fit_images_per_s']:.2f} images/s")
    for name, value in step["bare_images_per_s"].items():
        table.add_row(f"training, bare loop, {name}", f"{value:.2f} images/s")
        for phase, fraction in step["fractions"].items() if name == "computed" else ():
            table.add_row(f"  {phase}", f"{fraction:.1%}")
    table.add_row("convolution peak", ", ".join(f"{k} {v:,.0f}" for k, v in step["conv_peak_gflops"].items()))
    table.add_row("fraction of it that forward and backward reach", f"{step['fraction_of_conv_peak']:.0%}")
    for name, value in step["fit_over_bare_loops"].items():
        table.add_row(f"fit's step against a bare loop's, {name}", f"{value:.3f}")
    if step["waits_per_step"] is not None:
        places = [f"{times:.2f} {place}" for place, times in step["waits_per_step"].items()]
        table.add_row("waits for the GPU in a step", "\n".join(places) or "none")
    table.add_row("peak memory", f"{step['peak_memory_gib']:.2f} GiB")
    if "peak_gpu_memory_gib" in step:
        table.add_row("peak memory, GPU", f"{step['peak_gpu_memory_gib']:.2f} GiB")
    if found := results.get("epochs"):
        table.add_row("seconds an epoch", f"{found['epoch_s']:.2f}")
        table.add_row("epoch against the baseline's", f"{found['times_baseline']:.2f} times as fast")
    Console(width=110).print(table)


def arguments(given: list[str]) -> argparse.Namespace:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "scripts/bench train", description=__doc__, formatter_class=shape, allow_abbrev=False
    )
    parser.add_argument(
        "--root", type=Path, help="folder that holds VOCdevkit/VOC2012; default: a sample set"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    parser.add_argument("--baseline", type=Path, help="script with a notebook's loop")
    parser.add_argument("--baseline-workers", type=int, nargs="+", help="default: 0 1, on a GPU 0 8")
    parser.add_argument("--limit", type=int, default=24, help="images a split in epochs; 0: all; default: 24")
    parser.add_argument("--epochs", type=int, default=1, help="in each round; default: 1")
    parser.add_argument("--steps", type=int, help="measured steps a round; default: 6, on a GPU 50")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; default: 3")
    parser.add_argument("--size", type=int, default=256, help="side length of the images; default: 256")
    parser.add_argument("--batch", type=int, default=4, help="batch size; default: 4")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--encoder", default="resnet34", help="default: resnet34")
    parser.add_argument("--compiled", action="store_true", help="also a step by torch.compile")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--epochs-to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    words, words.flags = parser.parse_known_args(given)  # the rest are flags of `fit`
    words.given = given
    if words.root is not None and voc.find(words.root) is None:
        parser.error(f"--root {words.root}: holds no VOCdevkit/VOC2012")
    if words.baseline is not None and not words.baseline.is_file():
        parser.error(f"--baseline {words.baseline}: there is no such file")
    if words.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    words.device = words.device or ("cuda" if torch.cuda.is_available() else "cpu")
    words.steps = words.steps or (6 if words.device == "cpu" else 50)
    words.baseline_workers = words.baseline_workers or ([0, 1] if words.device == "cpu" else [0, 8])
    return words


def main(given: list[str]) -> None:
    words = arguments(given)
    warnings.filterwarnings("ignore")  # Lightning's, of few batches and of flags given in process
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(words.threads)
    if words.epochs_to:
        epochs.record_epochs(words, words.root, words.scratch)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), words.root
        if root is None:
            root = folder / "sample"
            write_sample(root, max(48, words.batch * (words.steps + 10)), 24)
        results: dict[str, object] = {"step": steps.measured(words, root, folder)}
        if words.baseline:
            results["epochs"] = epochs.measured(words, root, folder)
    show(results, words)
    if words.json:
        words.json.write_text(json.dumps(results, indent=1) + "\n")
