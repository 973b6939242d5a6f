"""Batches: collation and their types."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vocseg.data.samplers import EpochPosition, Progress
from vocseg.data.skipped import SkippedSamples
from vocseg.data.worker_watchdog import WorkerWatchdog, check_shared_memory, end_workers_at_exit


class BatchTensors(TypedDict):
    """The batch as `vocseg.data` ships it."""

    image: Tensor
    mask: Tensor
    index: Tensor


class Sample(TypedDict):
    """One item: image uint8 `[3,H,W]` RGB, mask uint8 `[H,W]` (class, 255), and its position in the split."""

    image: Tensor
    mask: Tensor
    index: int


class Batch(TypedDict):
    """What is shipped: image uint8 `[N,3,H,W]` RGB, mask uint8 `[N,H,W]`, index int64 `[N]`.

    An index below 0 counts nowhere: -1 is a filler, the others are images that were left out.
    """

    image: Tensor
    mask: Tensor
    index: Tensor


class Samples(Sequence[Sample]):
    """Samples that lie in one batch already, for any collate function: ours takes the batch as it is."""

    def __init__(self, batch: Batch) -> None:
        """Wrap a batch."""
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["index"])

    def __getitem__(self, k: Any) -> Any:
        """One of them, whose tensors are views of the batch's."""
        image, mask, index = (self.batch[key][k] for key in ("image", "mask", "index"))
        return {"image": image, "mask": mask, "index": int(index)}


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples, unless they are a batch already; the bytes stay in NHWC order, torch's channels-last."""
    if isinstance(samples, Samples):
        return samples.batch
    images = torch.stack([sample["image"].permute(1, 2, 0) for sample in samples])
    return {
        "image": images.permute(0, 3, 1, 2),  # [N,H,W,3] -> [N,3,H,W]
        "mask": torch.stack([sample["mask"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


class TimedDataLoader(DataLoader[Batch]):
    """torch's loader, which knows how long it kept its user waiting, and does not wait for ever.

    Without loader processes it asks the data set itself: torch's own way costs as much as the batch.
    Lightning keeps its `state_dict` in checkpoints: where `Trainer.fit` got it instead of the data module,
    nothing else tells how much of an epoch is done.
    """

    waited = 0.0  # seconds, since the start of the newest iteration
    patience = 60.0  # seconds to wait for a batch of loader processes
    _given = 0  # batches, since the start of the newest iteration

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given; nothing where there are no epochs."""
        progress: Progress | None = getattr(self.sampler, "progress", None)
        if progress is None:
            return {}
        epoch, done = progress.counted() or EpochPosition(
            progress.begun.epoch, progress.begun.batch + self._given
        )
        return {"epoch": epoch, "batch": done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next iteration go on from there."""
        progress: Progress | None = getattr(self.sampler, "progress", None)
        if progress is not None and state_dict:
            progress.next = EpochPosition(state_dict["epoch"], state_dict["batch"])

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches of one epoch."""
        clock, mine = time.perf_counter, self.__dict__  # torch watches attributes, which takes time
        mine["waited"], mine["_given"], since = 0.0, 0, clock()
        left_out: SkippedSamples | None = getattr(self.dataset, "left_out", None)
        for batch in self._elsewhere() if self.num_workers else self._here():
            mine["waited"] += clock() - since
            if left_out is not None:
                left_out.note(batch["index"])
            mine["_given"] += 1
            yield batch
            since = clock()

    def _elsewhere(self) -> Iterator[Batch]:
        end_workers_at_exit()
        check_shared_memory(self.num_workers, (self.batch_size or 1) * getattr(self.dataset, "item_bytes", 0))
        watchdog = WorkerWatchdog(self.patience)
        try:
            batches = watchdog.wait(super().__iter__)
            while (batch := watchdog.wait(lambda: next(batches, None))) is not None:
                yield batch
        finally:
            watchdog.close()

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
