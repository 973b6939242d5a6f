"""Which image comes when, on one process or on several.

Both orders give every process the same number of batches, so that no process waits for another for ever.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler


class Draw(NamedTuple):
    """One item to read: position in the split, epoch (seeds the augmentation), whether it only fills up."""

    index: int  # type: ignore[assignment]  # a tuple's method of that name is of no use here
    epoch: int = 0
    filler: bool = False


class Position(NamedTuple):
    """How far training is: epochs that are done, and batches of the one begun that every process has done."""

    epoch: int = 0
    batch: int = 0


class Order(SequentialSampler):
    """Which images a process reads when.

    Of torch's sequential kind: where the same images are wanted in every epoch (`overfit_batches`), Lightning
    would put another sampler in the place of one of any other kind, with the same images on every process.
    """


class TrainingOrder(Order):
    """A shuffle that depends on seed and epoch alone; processes take turns, and the ragged rest is left out.

    Global batch k holds the same images on one process with batch 4 as on two processes with batch 2.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        position: Callable[[], Position],
        rank: int = 0,
        world: int = 1,
        shuffled: bool = True,
    ) -> None:
        """Remember the sizes.

        Args:
            images: Length of the split.
            batch_size: Images per process and batch.
            seed: Any whole number.
            position: Tells, when an iteration starts, the epoch, and how many of its batches to leave out
                since they were trained on before the run was broken off.
            rank: Number of this process, from 0.
            world: Number of processes.
            shuffled: Else the split's order, in every epoch.
        """
        self.images, self.seed, self.position, self.rank, self.world = images, seed, position, rank, world
        self.shuffled = shuffled
        self.weights: Tensor | None = None  # `[images]`: how often each is sampled, with replacement
        self.batch_size, self.length = batch_size, images // (batch_size * world) * batch_size

    def __len__(self) -> int:
        """Images of a whole epoch, also where an iteration starts in its midst."""
        return self.length

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]  # torch's gives bare numbers
        epoch, done = self.position()
        mine = self._order(epoch)[self.rank :: self.world][: self.length]
        return (Draw(index, epoch) for index in mine[done * self.batch_size :])

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


class EvaluationOrder(Order):
    """Every image exactly once over all processes, in the split's order.

    Where the images do not divide evenly, a process gets a filler: an image whose mask is all void.
    """

    def __init__(self, images: int, rank: int = 0, world: int = 1) -> None:
        """Remember the sizes.

        Args:
            images: Length of the split.
            rank: Number of this process, from 0.
            world: Number of processes.
        """
        self.images, self.rank, self.world = images, rank, world

    def __len__(self) -> int:
        return -(-self.images // self.world)

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        for k in range(len(self)):
            index = k * self.world + self.rank
            yield Draw(min(index, self.images - 1), filler=index >= self.images)
