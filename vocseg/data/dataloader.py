"""DataLoaders, their errors and timeouts."""

from typing import Any, NamedTuple

from torch.utils.data import Dataset

from vocseg.data.batch import Sample, TimedDataLoader, collate
from vocseg.data.dataset import VOCSegmentation
from vocseg.data.samplers import EvalSampler, Order, Progress, ResumableSampler
from vocseg.data.worker_watchdog import useful_workers

_ON_A_GPU = 32  # images that are scored at once there: fewer leave it idle between them


class RankInfo(NamedTuple):
    """Where a process stands.

    Attributes:
        rank: Its number among all, from 0.
        world: How many there are; None, and rank too: as torch's process group says when images are read.
        neighbours: How many of them are on this machine, itself included.
        on_gpu: Whether it computes on one.
    """

    rank: int | None = None
    world: int | None = None
    neighbours: int = 1
    on_gpu: bool = False


def rank_info(trainer: Any) -> RankInfo:
    """This process's among a trainer's; None: there is no trainer."""
    if trainer is None:
        return RankInfo()
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return RankInfo(trainer.global_rank, trainer.world_size, trainer.num_devices, on_gpu)


class DataLoaderFactory:
    """Loaders of batches for one process."""

    def __init__(
        self,
        place: RankInfo,
        batch_size: int,
        eval_batch_size: int | None,
        workers: int | None,
        patience: int,
    ) -> None:
        """Remember the settings.

        Args:
            place: The process's.
            batch_size: Images in a batch, in training.
            eval_batch_size: The same in scoring; None: as in training, on a GPU 32 at least.
            workers: Loader processes; None: see `useful_workers`.
            patience: Seconds to wait for a batch of them.
        """
        self._place, self._workers, self._patience = place, workers, patience
        self._batch_size = batch_size
        usual = max(batch_size, _ON_A_GPU) if place.on_gpu else batch_size
        self._scored_at_once = usual if eval_batch_size is None else eval_batch_size

    def training(
        self, part: VOCSegmentation, seed: int, progress: Progress, shuffled: bool = True
    ) -> TimedDataLoader:
        """Whole batches only.

        Args:
            part: What to train on.
            seed: Of the order.
            progress: Tells from which epoch and batch on.
            shuffled: By seed and epoch; else in the order of the part.
        """
        rank, world = self._place.rank, self._place.world
        order = ResumableSampler(len(part), self._batch_size, seed, progress, rank, world, shuffled)
        order.weights = part.weights
        return self._made(part, order, self._batch_size)

    def scoring(self, part: Dataset[Sample]) -> TimedDataLoader:
        """Every image once, in the order of the part.

        Args:
            part: What to score on, or to predict.
        """
        order = EvalSampler(len(part), self._place.rank, self._place.world)  # type: ignore[arg-type]
        return self._made(part, order, self._scored_at_once)

    def _made(self, part: Dataset[Sample], order: Order, batch_size: int) -> TimedDataLoader:
        ready = isinstance(part, VOCSegmentation) and part.ready
        batch_bytes = batch_size * getattr(part, "item_bytes", 0)
        useful = useful_workers(ready, self._place.on_gpu, self._place.neighbours, batch_bytes)
        workers = useful if self._workers is None else self._workers
        loader = TimedDataLoader(
            part,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=order,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=self._place.on_gpu,
        )
        loader.patience = self._patience
        return loader
