"""One item, a batch of them, and the loader that makes batches."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vocseg.data.order import Draw


class Sample(TypedDict):
    """One item: image uint8 `[H,W,3]` RGB, mask uint8 `[H,W]` (class, 255), and its position in the split."""

    image: Tensor
    mask: Tensor
    index: int


class Batch(TypedDict):
    """What is shipped: image uint8 `[N,3,H,W]` RGB, mask uint8 `[N,H,W]`, index int64 `[N]` (-1: filler)."""

    image: Tensor
    mask: Tensor
    index: Tensor


def collate(samples: Sequence[Sample] | Batch) -> Batch:
    """Stack samples, unless they are a batch already; the bytes stay in NHWC order, torch's channels-last."""
    if isinstance(samples, dict):
        return samples
    images = torch.stack([sample["image"] for sample in samples])
    return {
        "image": images.permute(0, 3, 1, 2),  # [N,H,W,3] -> [N,3,H,W]
        "mask": torch.stack([sample["mask"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


class Loader(DataLoader[Batch]):
    """torch's loader, which knows how long it kept its user waiting.

    Without loader processes it asks the data set itself: torch's own way costs as much as the batch.
    """

    waited = 0.0  # seconds, since the start of the newest iteration

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches of one epoch."""
        clock, mine = time.perf_counter, self.__dict__  # torch watches attributes, which takes time
        mine["waited"], since = 0.0, clock()
        for batch in super().__iter__() if self.num_workers else self._here():
            mine["waited"] += clock() - since
            yield batch
            since = clock()

    def _here(self) -> Iterator[Batch]:
        fetch = getattr(self.dataset, "__getitems__", None)
        for draws in self.batch_sampler or ():
            samples: Any = fetch(draws) if fetch else [self.dataset[draw] for draw in draws]
            batch = collate(samples)
            yield _pinned(batch) if self.pin_memory else batch


def _pinned(batch: Batch) -> Batch:
    """In memory from which a GPU copies by itself."""
    return {
        "image": batch["image"].pin_memory(),
        "mask": batch["mask"].pin_memory(),
        "index": batch["index"].pin_memory(),
    }


def make_loader(
    part: Dataset[Sample], order: Sampler[Draw], batch_size: int, workers: int | None, decoding: bool
) -> Loader:
    """A loader of batches.

    Args:
        part: Where items come from.
        order: Which item comes when.
        batch_size: Items in a batch; the last one may be smaller.
        workers: Loader processes; None: none on a CPU, where they would take the network's cores, and none
            where nothing is decoded, as handing a batch over costs more than making it; else one a core up
            to 8.
        decoding: Whether items are read from picture files.
    """
    if workers is None:
        workers = min(8, os.cpu_count() or 1) if torch.cuda.is_available() and decoding else 0
    return Loader(
        part,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
