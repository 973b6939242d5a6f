"""DataLoaders of one process for training and evaluation."""

from typing import Any, NamedTuple

from torch.utils.data import Dataset

from vocseg.data.batch import Sample, TimedDataLoader, collate
from vocseg.data.dataset import VOCSegmentation
from vocseg.data.samplers import EvalSampler, Order, Progress, ResumableSampler
from vocseg.data.worker_watchdog import useful_workers

_ON_A_GPU = 32  # least evaluation batch there: fewer images leave it idle between batches


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


class DataLoaderFactory:
    """Factory of DataLoaders for one process."""

    def __init__(
        self,
        rank: RankInfo,
        batch_size: int,
        eval_batch_size: int | None,
        num_workers: int | None,
        timeout: int,
    ) -> None:
        """Store the settings.

        Args:
            rank: Of the process.
            batch_size: Images in a training batch.
            eval_batch_size: Images in an evaluation batch; None: `batch_size`, on a GPU at least 32.
            num_workers: DataLoader workers; None: see `useful_workers`.
            timeout: Seconds to wait for a batch from them.
        """
        self._rank, self._num_workers, self._timeout = rank, num_workers, timeout
        self._batch_size = batch_size
        usual = max(batch_size, _ON_A_GPU) if rank.on_gpu else batch_size
        self._eval_batch_size = usual if eval_batch_size is None else eval_batch_size

    def training(
        self, dataset: VOCSegmentation, seed: int, progress: Progress, shuffled: bool = True
    ) -> TimedDataLoader:
        """Return a DataLoader of full batches.

        Args:
            dataset: The training images.
            seed: Of the order.
            progress: Epoch and batch to start from.
            shuffled: Shuffle by seed and epoch; else use the order of the dataset.
        """
        rank, world = self._rank.rank, self._rank.world
        sampler = ResumableSampler(len(dataset), self._batch_size, seed, progress, rank, world, shuffled)
        sampler.weights = dataset.weights
        return self._loader(dataset, sampler, self._batch_size)

    def scoring(self, dataset: Dataset[Sample]) -> TimedDataLoader:
        """Return a DataLoader of every image once, in the order of the dataset."""
        sampler = EvalSampler(len(dataset), self._rank.rank, self._rank.world)  # type: ignore[arg-type]
        return self._loader(dataset, sampler, self._eval_batch_size)

    def _loader(self, dataset: Dataset[Sample], sampler: Order, batch_size: int) -> TimedDataLoader:
        workers = self._num_workers
        if workers is None:
            ready = isinstance(dataset, VOCSegmentation) and dataset.ready
            batch_bytes = batch_size * getattr(dataset, "item_bytes", 0)
            workers = useful_workers(ready, self._rank.on_gpu, self._rank.neighbours, batch_bytes)
        loader = TimedDataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=self._rank.on_gpu,
        )
        loader.patience = self._timeout
        return loader
