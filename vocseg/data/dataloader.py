"""DataLoader of one process."""

from typing import Any, NamedTuple

from torch.utils.data import Dataset

from vocseg.data.batch import Sample, TimedDataLoader, collate
from vocseg.data.dataset import VOCSegmentation
from vocseg.data.samplers import Order
from vocseg.data.worker_watchdog import useful_workers


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


def make_dataloader(
    dataset: Dataset[Sample],
    sampler: Order,
    batch_size: int,
    rank: RankInfo,
    workers: int | None,
    timeout: int,
) -> TimedDataLoader:
    """Create the DataLoader of one process.

    `workers` is the number of DataLoader workers (None: 0 if the dataset has threads, else see
    `useful_workers`), `timeout` the seconds to wait for a batch from them.
    """
    if workers is None and hasattr(dataset, "threads"):
        workers = 0
    if workers is None:
        ready = isinstance(dataset, VOCSegmentation) and dataset.ready
        batch_bytes = batch_size * getattr(dataset, "item_bytes", 0)
        workers = useful_workers(ready, rank.on_gpu, rank.neighbours, batch_bytes)
    loader = TimedDataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=rank.on_gpu,
    )
    loader.patience = timeout
    return loader
