"""Whole epochs of training and validation in processes, ours and a baseline's in turns."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from benches.fitting import Epochs, fit

from vocseg.data import voc


def baseline_epoch(words, root: Path, workers: int) -> float:
    devkit = voc.find(root).parent.parent
    line = [sys.executable, str(words.baseline), "--root", str(devkit), "--limit", str(words.limit)]
    line += ["--epochs", str(words.epochs), "--batch-size", str(words.batch), "--workers", str(workers)]
    line += ["--threads", str(words.threads), "--size", str(words.size)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"--baseline {words.baseline} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["epoch_s"])


def our_epochs(words, root: Path, folder: Path) -> list[float]:
    """Seconds of epochs by our command line in a process of its own."""
    record = folder / "epochs.json"
    front = Path(__file__).resolve().parent.parent / "bench"
    line = [sys.executable, str(front), "train", "--epochs-to", str(record), "--scratch", str(folder)]
    subprocess.run([*line, *words.given, "--root", str(root)], check=True)
    return json.loads(record.read_text())


def record_epochs(words, root: Path, folder: Path) -> None:
    """The part of `our_epochs` that is the other process."""
    seen, limit = Epochs(), ("--trainer.max_epochs", str(words.epochs))
    images = ("--data.max_train_samples", str(words.limit), "--data.max_val_samples", str(words.limit))
    more = (*(images if words.limit else ()), "--data.augmentation", "light", *limit)
    fit(words, root, folder, [seen], *more, "--trainer.num_sanity_val_steps", "0")
    words.epochs_to.write_text(json.dumps(seen.seconds))


def measured(words, root: Path, folder: Path) -> dict[str, object]:
    """Medians of rounds; the cache is made once before, as in any training."""
    if not (folder / "cache").is_dir():
        our_epochs(words, root, folder)
    ours, last, theirs = [], [], []
    for number in range(words.rounds):
        seconds = our_epochs(words, root, folder)
        ours.append(statistics.mean(seconds))
        last.append(seconds[-1])
        theirs.append(min(baseline_epoch(words, root, workers) for workers in words.baseline_workers))
        ratio = theirs[-1] / ours[-1]
        print(f"round {number + 1}/{words.rounds}: {ratio:.2f} times the baseline", flush=True)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "images": 2 * words.limit if words.limit else "all",
        "epoch_s": statistics.median(ours),
        "last_epoch_s": statistics.median(last),
        "baseline_epoch_s": statistics.median(theirs),
        "rounds": ratios,
        "times_baseline": statistics.median(ratios),
    }
