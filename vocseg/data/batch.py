"""One item, a batch of them, and the loader that makes batches."""

import os
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vocseg.data.order import Draw


class Sample(TypedDict):
    """One item: image uint8 `[H,W,3]` RGB, mask uint8 `[H,W]` (0..20, 255), and its position in the split."""

    image: Tensor
    mask: Tensor
    index: int


class Batch(TypedDict):
    """What is shipped: image uint8 `[N,3,H,W]` RGB, mask uint8 `[N,H,W]`, index int64 `[N]` (-1: filler)."""

    image: Tensor
    mask: Tensor
    index: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; the image keeps its bytes in NHWC order, which is torch's channels-last."""
    return {
        "image": torch.stack([sample["image"] for sample in samples]).permute(
            0, 3, 1, 2
        ),  # [N,H,W,3] -> [N,3,H,W]
        "mask": torch.stack([sample["mask"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


def make_loader(
    part: Dataset[Sample], order: Sampler[Draw], batch_size: int, workers: int | None
) -> DataLoader[Batch]:
    """A loader of batches.

    Args:
        part: Where items come from.
        order: Which item comes when.
        batch_size: Items in a batch; the last one may be smaller.
        workers: Loader processes; None: none on a CPU, where they would take the network's cores, else one a
            core up to 8.
    """
    if workers is None:
        workers = min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0
    return DataLoader(
        part,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
