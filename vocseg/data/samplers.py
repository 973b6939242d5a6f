"""Resumable training sampler and evaluation sampler without duplicates."""

# Both give every process the same number of batches, so that none waits for another for ever.

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor, distributed
from torch.utils.data import DistributedSampler, SequentialSampler


class SampleIndex(NamedTuple):
    """One item to read: position in the split, epoch of the augmentation, and if it is a filler."""

    index: int  # type: ignore[assignment]  # hides a tuple's method of that name
    epoch: int = 0
    filler: bool = False


def as_draw(item: SampleIndex | SupportsIndex, length: int, epoch: int = 0) -> SampleIndex:
    """Convert an item of any sampler to a `SampleIndex`; a plain index gets `epoch`.

    Raises:
        IndexError: If the index is out of range.
    """
    if isinstance(item, SampleIndex):
        return item
    index = operator.index(item)
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range: the data set has {length} images")
    return SampleIndex(index % length, epoch)


class EpochPosition(NamedTuple):
    """Training progress: epochs done, and batches of the current epoch that every process has done."""

    epoch: int = 0
    batch: int = 0


class Progress:
    """Epoch and batch at which the next iteration over the training images starts.

    A trainer that trains on them counts itself. Without one, each iteration is the next epoch, unless
    `set_epoch` sets another.

    Attributes:
        next: Start of the next iteration if no trainer counts.
        begun: Start of the newest iteration.
    """

    def __init__(self, counted: Callable[[], EpochPosition | None] = lambda: None) -> None:
        """Start at the first epoch; `counted` returns the trainer's count, None while none trains."""
        self.next, self.begun, self.counted = EpochPosition(), EpochPosition(), counted

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; `next` keeps its batch if it is in that epoch."""
        if epoch != self.next.epoch:
            self.next = EpochPosition(epoch)

    def start(self) -> EpochPosition:
        """Return the start of an iteration that starts now."""
        self.begun = self.counted() or self.next
        self.next = EpochPosition(self.begun.epoch + 1)
        return self.begun


class Order(DistributedSampler[int], SequentialSampler):
    """Base of samplers that Lightning does not replace."""

    # Lightning replaces a sampler that is not distributed on several processes, and validation would repeat
    # images. With `overfit_batches` it replaces one that is not sequential.

    def __init__(self, images: int, rank: int | None = None, world: int | None = None) -> None:
        """Store the length of the split, and rank and number of processes (None: of torch's group)."""
        # Not torch's own __init__, which needs the process group now, and the dataset.
        self.images, self._rank, self._world = images, rank, world

    @property
    def rank_and_world(self) -> tuple[int, int]:
        """Rank of this process, and number of processes."""
        if self._rank is not None and self._world is not None:
            return self._rank, self._world
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the order is the same in every epoch."""


class ResumableSampler(Order):
    """Shuffle by seed and epoch; processes take turns, and an incomplete last batch is dropped.

    Global batch k holds the same images on one process with batch 4 as on two processes with batch 2.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        progress: Progress,
        rank: int | None = None,
        world: int | None = None,
        shuffled: bool = True,
    ) -> None:
        """Store the settings.

        `batch_size` is that of one process. `progress` gives the epoch and the number of its batches that are
        done already. If not `shuffled`, every epoch has the split's order.
        """
        super().__init__(images, rank, world)
        self.batch_size, self.seed, self.progress, self.shuffled = batch_size, seed, progress, shuffled
        self.weights: Tensor | None = None  # `[images]`: sampling weights, with replacement

    def __len__(self) -> int:
        """Return the images of a complete epoch, also where an iteration starts within one."""
        return self.images // (self.batch_size * self.rank_and_world[1]) * self.batch_size

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]  # torch's yields plain integers
        (rank, world), (epoch, done) = self.rank_and_world, self.progress.start()
        indices = self._order(epoch)[rank::world][: len(self)]
        return (SampleIndex(index, epoch) for index in indices[done * self.batch_size :])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.progress.set_epoch(epoch)

    def _order(self, epoch: int) -> Sequence[int]:
        """Order of all images, for all processes."""
        if not self.shuffled:
            return range(self.images)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        if self.weights is None:
            order = torch.randperm(self.images, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.images, replacement=True, generator=generator)
        indices: list[int] = order.tolist()
        return indices


class EvalSampler(Order):
    """Every image exactly once over all processes, in the split's order.

    Where the images do not divide evenly, a process gets a filler: an image whose mask is ignored.
    """

    def __len__(self) -> int:
        return -(-self.images // self.rank_and_world[1])

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        rank, world = self.rank_and_world
        for k in range(len(self)):
            index = k * world + rank
            yield SampleIndex(min(index, self.images - 1), filler=index >= self.images)
