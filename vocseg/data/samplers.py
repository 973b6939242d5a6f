"""Resumable training sampler and evaluation sampler without duplicates.

Both orders give every process the same number of batches, so that no process waits for another for ever.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor, distributed
from torch.utils.data import DistributedSampler, SequentialSampler


class SampleIndex(NamedTuple):
    """One item to read: position in the split, epoch (seeds the augmentation), whether it only fills up."""

    index: int  # type: ignore[assignment]  # a tuple's method of that name is of no use here
    epoch: int = 0
    filler: bool = False


def as_draw(item: SampleIndex | SupportsIndex, length: int, epoch: int = 0) -> SampleIndex:
    """What a sampler of any kind asks for.

    Args:
        item: A draw, or an index as a Python list takes it.
        length: Of the data set.
        epoch: Of a plain index.

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
    """How far training is: epochs that are done, and batches of the one begun that every process has done."""

    epoch: int = 0
    batch: int = 0


class Progress:
    """The epoch and batch at which the next iteration over the training images starts.

    A trainer that trains on them counts itself. Without one, each iteration is the next epoch, unless
    `set_epoch` names another.

    Attributes:
        next: Where the next iteration starts if no trainer counts.
        begun: Where the newest one started.
    """

    def __init__(self, counted: Callable[[], EpochPosition | None] = lambda: None) -> None:
        """Start at the first epoch.

        Args:
            counted: The trainer's count; None while none trains.
        """
        self.next, self.begun, self.counted = EpochPosition(), EpochPosition(), counted

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from its first batch, or where `next` says if it is that."""
        if epoch != self.next.epoch:
            self.next = EpochPosition(epoch)

    def start(self) -> EpochPosition:
        """Where an iteration that starts now does so."""
        self.begun = self.counted() or self.next
        self.next = EpochPosition(self.begun.epoch + 1)
        return self.begun


class Order(DistributedSampler[int], SequentialSampler):
    """Which images a process reads when.

    Of both kinds of torch's that Lightning leaves in place. On several processes it would put a sampler of
    its own in the place of one that is not distributed, and validation would see images twice. Where the same
    images are wanted in every epoch (`overfit_batches`), it would do so with one that is not sequential.
    """

    def __init__(self, images: int, rank: int | None, world: int | None) -> None:
        """Remember the sizes.

        Args:
            images: Length of the split.
            rank: Number of this process, from 0.
            world: Number of processes; None, and rank too: as torch's process group says when it is used.
        """
        # None of torch's own: that asks for the process group now, and for the data set.
        self.images, self._rank, self._world = images, rank, world

    @property
    def place(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        if self._rank is not None and self._world is not None:
            return self._rank, self._world
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the order is the same in every epoch."""


class ResumableSampler(Order):
    """A shuffle that depends on seed and epoch alone; processes take turns, and the ragged rest is left out.

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
        """Remember the sizes.

        Args:
            images: Length of the split.
            batch_size: Images per process and batch.
            seed: Any whole number.
            progress: Tells, when an iteration starts, the epoch, and how many of its batches to leave out
                since they were trained on before the run was broken off.
            rank: See `Order`.
            world: See `Order`.
            shuffled: Else the split's order, in every epoch.
        """
        super().__init__(images, rank, world)
        self.batch_size, self.seed, self.progress, self.shuffled = batch_size, seed, progress, shuffled
        self.weights: Tensor | None = None  # `[images]`: how often each is sampled, with replacement

    def __len__(self) -> int:
        """Images of a whole epoch, also where an iteration starts in its midst."""
        return self.images // (self.batch_size * self.place[1]) * self.batch_size

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]  # torch's gives bare numbers
        (rank, world), (epoch, done) = self.place, self.progress.start()
        mine = self._order(epoch)[rank::world][: len(self)]
        return (SampleIndex(index, epoch) for index in mine[done * self.batch_size :])

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch; without a word it is the one after the last."""
        self.progress.set_epoch(epoch)

    def _order(self, epoch: int) -> Sequence[int]:
        """Of all images, for all processes."""
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

    Where the images do not divide evenly, a process gets a filler: an image whose mask is all void.
    """

    def __init__(self, images: int, rank: int | None = None, world: int | None = None) -> None:
        """Remember the sizes; see `Order`."""
        super().__init__(images, rank, world)

    def __len__(self) -> int:
        return -(-self.images // self.place[1])

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        rank, world = self.place
        for k in range(len(self)):
            index = k * world + rank
            yield SampleIndex(min(index, self.images - 1), filler=index >= self.images)
