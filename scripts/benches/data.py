"""Images per second that reach the training loop, against a notebook's loader and a bare memcpy."""

import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import VOCSegmentation
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

from vocseg import constants
from vocseg.data import voc
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.transforms.augment import Augmentation

BATCH, SIZE = 4, 256
SECONDS = 1.0  # of a measurement, at least


class NotebookTransform:
    """Resize a pair, flip it half of the time, normalise the image, make the mask int64."""

    def __call__(self, image, mask):
        image = vision.resize(image, [SIZE, SIZE], InterpolationMode.BILINEAR)
        mask = vision.resize(mask, [SIZE, SIZE], InterpolationMode.NEAREST)
        if random.random() < 0.5:
            image, mask = vision.hflip(image), vision.hflip(mask)
        pixels = vision.normalize(vision.to_tensor(image), constants.IMAGENET_MEAN, constants.IMAGENET_STD)
        return pixels, torch.from_numpy(np.array(mask)).long()


def notebook(root: Path, workers: int) -> DataLoader:
    devkit = voc.find(root).parent.parent
    part = VOCSegmentation(devkit, "2012", "train", transforms=NotebookTransform())
    return DataLoader(part, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers)


def ours(root: Path, cache: Path, augmentation: Augmentation, cached: bool = True) -> VOCDataModule:
    return VOCDataModule(
        root, SIZE, BATCH, augmentation=augmentation, cache=cached, cache_dir=cache, verify_files=False
    )


def ready(data: VOCDataModule) -> Callable[[], Iterable]:
    data.prepare_data()
    data.setup("fit")
    return data.train_dataloader


def rate(make: Callable[[], Iterable]) -> float:
    """Images per second over whole epochs."""
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        for batch in make():
            images += len(batch["mask"] if isinstance(batch, dict) else batch[1])
    return images / (time.perf_counter() - start)


def memcpy_rate(root: Path, cache: Path) -> float:
    """Images per second when their bytes are only copied, in random order, out of the mapped cache."""
    folder = next(cache.rglob(f"train-{SIZE}-*"))
    images = np.memmap(folder / "images.bin", np.uint8, "r").reshape(-1, SIZE * SIZE * 3)
    masks = np.memmap(folder / "masks.bin", np.uint8, "r").reshape(-1, SIZE * SIZE)
    images, masks = np.asarray(images), np.asarray(masks)
    image, mask = np.empty((BATCH, images.shape[1]), np.uint8), np.empty((BATCH, masks.shape[1]), np.uint8)
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    start, copied = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        for k, row in enumerate(order):
            image[k % BATCH], mask[k % BATCH] = images[row], masks[row]
        copied += len(order)
    return copied / (time.perf_counter() - start)


def first_epoch(root: Path, scratch: Path) -> float:
    """Images per second of an epoch that begins with image files and an empty cache, on all cores."""
    cache = scratch / "first"
    shutil.rmtree(cache, ignore_errors=True)
    data, start = ours(root, cache, "none"), time.perf_counter()
    data.parts.prepare({"train": data.splits()["train"]})
    data.setup("fit")
    images = sum(len(batch["index"]) for batch in data.train_dataloader())
    return images / (time.perf_counter() - start)


def bench_data(root: Path, rounds: int, scratch: Path) -> dict[str, list[float]]:
    cores = os.cpu_count() or 1
    cache = scratch / "cache"
    files = ready(ours(root, cache, "none", cached=False))
    loaders = {
        "notebook": lambda: notebook(root, 0),
        "cache": ready(ours(root, cache, "none")),
        "cache, flips": ready(ours(root, cache, "light")),
        "cache, scaled crops and flips": ready(ours(root, cache, "crops")),
    }
    sides: dict[str, Callable[[], float]] = {name: partial(rate, make) for name, make in loaders.items()}
    sides["memcpy"] = lambda: memcpy_rate(root, cache)
    sides["all cores: files without a cache"] = lambda: rate(files)
    sides["all cores: notebook in process"] = lambda: rate(lambda: notebook(root, 0))
    sides[f"all cores: notebook, {cores} workers"] = lambda: rate(lambda: notebook(root, cores))
    sides["all cores: first epoch, caching included"] = lambda: first_epoch(root, scratch)
    results: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            threads = cores if "all cores" in name else 1
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            results[name].append(side())
            print(f"round {number + 1}/{rounds}  {name}: {results[name][-1]:,.0f} images/s", flush=True)
    return results


def report(results: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Medians, and medians of the ratios within a round, where both sides met the same load."""
    old = [name for name in results if name.startswith("all cores: notebook")]
    best = [max(pair) for pair in zip(*(results[name] for name in old), strict=True)]
    table, medians = Table("", "images/s", "times the notebook", "fraction of memcpy"), {}
    for name, rates in results.items():
        against = best if name.startswith("all cores") else results["notebook"]
        rate, times, fraction = (
            statistics.median(a / b for a, b in zip(rates, other, strict=True))
            for other in ([1] * len(rates), against, results["memcpy"])
        )
        medians[name] = {"images_per_s": rate, "times_notebook": times, "fraction_of_memcpy": fraction}
        shown = f"{fraction:.0%}" if name.startswith(("cache", "memcpy")) else ""
        table.add_row(name, f"{rate:,.0f}", f"{times:.1f}", shown)
    Console(width=110).print(table)
    return medians
