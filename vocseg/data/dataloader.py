"""DataLoader: batches, collation, waiting for workers."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vocseg.data.samplers import EpochPosition, Progress
from vocseg.data.worker_watchdog import (
    WorkerWatchdog,
    check_shared_memory,
    end_workers_at_exit,
)
from vocseg.utils.streams import Streams


class Sample(TypedDict):
    """One item: image uint8 `[3,H,W]` RGB, mask uint8 `[H,W]` (class, 255 ignored), position in the split."""

    image: Tensor
    mask: Tensor
    index: int


class Batch(TypedDict):
    """Image uint8 `[N,3,H,W]` RGB, mask uint8 `[N,H,W]` (class, 255 ignored), index int64 `[N]`.

    An index below 0 is left out of every count: -1 is a filler, others are unreadable images of `predict`.
    """

    image: Tensor
    mask: Tensor
    index: Tensor


class Samples(Sequence[Sample]):
    """Samples that share the tensors of one batch, so that `collate` need not copy them."""

    def __init__(self, batch: Batch) -> None:
        """Store the batch."""
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["index"])

    def __getitem__(self, k: Any) -> Any:
        """Return one sample, whose tensors are views of the batch's."""
        image, mask, index = (self.batch[key][k] for key in ("image", "mask", "index"))
        return {"image": image, "mask": mask, "index": int(index)}


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a batch whose images are in channels-last memory order."""
    if isinstance(samples, Samples):
        return samples.batch
    images = torch.stack([sample["image"].permute(1, 2, 0) for sample in samples])
    return {
        "image": images.permute(0, 3, 1, 2),  # [N,H,W,3] -> [N,3,H,W]
        "mask": torch.stack([sample["mask"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


class TimedDataLoader(DataLoader[Batch]):
    """DataLoader that measures the time spent waiting for batches, and limits it.

    Its `state_dict` holds epoch and batch. Lightning saves it in checkpoints, which matters where
    `Trainer.fit` gets the loader instead of the data module.

    Attributes:
        waited: Seconds spent waiting since the start of the newest iteration.
        patience: Seconds to wait for a batch from DataLoader workers.
    """

    waited = 0.0
    patience = 60.0
    _given = 0  # batches since the start of the newest iteration

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches that are done; empty in evaluation."""
        progress: Progress | None = getattr(self.sampler, "progress", None)
        if progress is None:
            return {}
        epoch, done = progress.counted() or EpochPosition(
            progress.begun.epoch, progress.begun.batch + self._given
        )
        return {"epoch": epoch, "batch": done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume the next iteration from there."""
        progress: Progress | None = getattr(self.sampler, "progress", None)
        if progress is not None and state_dict:
            progress.next = EpochPosition(state_dict["epoch"], state_dict["batch"])

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Iterate over the batches of one epoch."""
        clock, fields = time.perf_counter, self.__dict__  # torch's __setattr__ is slow
        fields["waited"], fields["_given"], since = 0.0, 0, clock()
        note_unreadable: Callable[[Tensor], None] | None = getattr(self.dataset, "note_unreadable", None)
        threads = getattr(self.dataset, "threads", 0)
        in_process = self._from_threads(threads) if threads else self._in_process()
        for batch in self._from_workers() if self.num_workers else in_process:
            fields["waited"] += clock() - since
            if note_unreadable is not None:
                note_unreadable(batch["index"])
            fields["_given"] += 1
            yield batch
            since = clock()

    def _from_workers(self) -> Iterator[Batch]:
        end_workers_at_exit()
        check_shared_memory(self.num_workers, (self.batch_size or 1) * getattr(self.dataset, "item_bytes", 0))
        watchdog = WorkerWatchdog(self.patience)
        try:
            batches = watchdog.wait(super().__iter__)
            while (batch := watchdog.wait(lambda: next(batches, None))) is not None:
                yield batch
        finally:
            watchdog.close()

    def _from_threads(self, threads: int) -> Iterator[Batch]:
        def fetch(items: Any) -> Batch:
            samples: Any = [self.dataset[item] for item in items]
            return collate(samples)

        with Streams(threads) as streams:
            for batch in streams.map(fetch, self.batch_sampler or ()):
                yield _pinned(batch) if self.pin_memory else batch

    def _in_process(self) -> Iterator[Batch]:
        # torch's own iterator takes as long as making the batch.
        fetch = getattr(self.dataset, "__getitems__", None)
        for items in self.batch_sampler or ():
            samples: Any = fetch(items) if fetch else [self.dataset[item] for item in items]
            batch = collate(samples)
            yield _pinned(batch) if self.pin_memory else batch


def _pinned(batch: Batch) -> Batch:
    image, mask, index = (batch[key].pin_memory() for key in ("image", "mask", "index"))
    return {"image": image, "mask": mask, "index": index}


class RankInfo(NamedTuple):
    """Rank of a process.

    Attributes:
        rank: From 0.
        world: Number of processes; None, and rank too: torch's process group decides when images are read.
        neighbours: Number of processes on this machine, including this one.
        on_gpu: True if the process computes on a GPU.
    """

    rank: int | None = None
    world: int | None = None
    neighbours: int = 1
    on_gpu: bool = False


def rank_info(trainer: Any) -> RankInfo:
    """Return the rank of this process in a trainer; None: there is no trainer."""
    if trainer is None:
        return RankInfo()
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return RankInfo(trainer.global_rank, trainer.world_size, trainer.num_devices, on_gpu)
