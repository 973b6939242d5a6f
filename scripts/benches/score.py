"""Images per second from logits to a confusion matrix at the original resolution."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import interpolate, one_hot
from torchmetrics.classification import MulticlassConfusionMatrix

from vocseg.data import voc
from vocseg.data.image_io import read_mask
from vocseg.metrics.confusion import confusion_matrices
from vocseg.metrics.upsample import argmax_upsampled

SIZE = 256


def smooth_logits(mask: np.ndarray, seed: int) -> torch.Tensor:
    """Logits `[21,256,256]` that follow a mask softly, with noise and other objects in them."""
    random = torch.Generator().manual_seed(seed)
    small = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST_EXACT)
    hot = one_hot(torch.from_numpy(np.where(small < 21, small, 0)).long(), 21).numpy()
    soft = torch.from_numpy(cv2.GaussianBlur(hot.astype(np.float32), (0, 0), 4))  # [256,256,21]
    coarse = torch.randn(1, 21, 8, 8, generator=random)
    noise = interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0].permute(1, 2, 0)
    return (6 * soft + noise + 0.05 * torch.randn(soft.shape, generator=random)).permute(2, 0, 1)


def score_plainly(logits: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    metric = MulticlassConfusionMatrix(num_classes=21, ignore_index=255)
    for one, mask in zip(logits, masks, strict=True):
        single = one[None].contiguous()
        full = interpolate(single, mask.shape, mode="bilinear", align_corners=False)
        metric.update(full.argmax(1), mask[None].long())
    return metric.compute()


def score_ours(logits: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros(21, 21, dtype=torch.int64)
    for one, mask in zip(logits, masks, strict=True):
        total += confusion_matrices(argmax_upsampled(one, mask.shape)[None], mask[None], 21)[0]
    return total


def timed(side: Callable[[], torch.Tensor], images: int) -> tuple[float, torch.Tensor]:
    start = time.perf_counter()
    matrix = side()
    return images / (time.perf_counter() - start), matrix


def bench_score(root: Path, rounds: int, images: int) -> dict[str, dict[str, float]]:
    folder = voc.find(root)
    ids = voc.split_ids(folder, "val")[:images]
    masks = [torch.from_numpy(read_mask(voc.mask_path(folder, id, "val"))) for id in ids]
    logits = [smooth_logits(mask.numpy(), k) for k, mask in enumerate(masks)]
    sides = {"torch and torchmetrics": score_plainly, "vocseg": score_ours}
    title = f"{len(ids)} images at the original resolution"
    results, table = {}, Table("", "images/s", "times torch", title=title)
    for where, threads in (("one core", 1), ("all cores", os.cpu_count() or 1)):
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds):
            matrices = []
            for name, side in sides.items():
                rate_, matrix = timed(lambda side=side: side(logits, masks), len(ids))
                rates[name].append(rate_)
                matrices.append(matrix)
                print(f"round {number + 1}/{rounds}  {where}: {name}: {rate_:,.1f} images/s", flush=True)
            assert torch.equal(*matrices), "the two count differently"
        for name, each in rates.items():
            ratios = (a / b for a, b in zip(each, rates["torch and torchmetrics"], strict=True))
            median, ratio = statistics.median(each), statistics.median(ratios)
            results[f"{where}: {name}"] = {"images_per_s": median, "times_torch": ratio}
            table.add_row(f"{where}: {name}", f"{median:,.1f}", f"{ratio:.1f}")
    Console(width=110).print(table)
    return results
