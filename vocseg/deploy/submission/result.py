"""What a check of an archive found."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocseg.deploy.submission.faults import Fault
from vocseg.voc import CLASSES


@dataclass(frozen=True)
class Check:
    """What was found in an archive, or in the masks for one.

    Attributes:
        archive: Its file.
        competition: 5 or 6.
        images: How many images the list has.
        masks: How many of them have a mask that can be read.
        faults: What is wrong; of the whole archive first.
        images_with: Masks in which a class is, by class.
        pixels: Pixels of each class over all masks.
    """

    archive: Path
    competition: int
    images: int
    masks: int
    faults: tuple[Fault, ...]
    images_with: tuple[int, ...]
    pixels: tuple[int, ...]

    @property
    def exit_code(self) -> int:
        """1 if something is wrong, as with a linter."""
        return 1 if self.faults else 0

    def at(self, archive: Path) -> "Check":
        """The same of a file that got another name."""
        return replace(self, archive=archive)


@dataclass
class Tally:
    """Which classes masks show."""

    masks: int = 0
    images_with: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CLASSES), np.int64))
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CLASSES), np.int64))

    def add(self, indices: npt.NDArray[np.uint8]) -> None:
        """Count a mask uint8 `[H,W]`."""
        counts = np.bincount(indices.ravel(), minlength=256)[: len(CLASSES)]
        self.masks += 1
        self.pixels += counts
        self.images_with += counts > 0

    def check(self, archive: Path, competition: int, images: int, faults: Iterable[Fault]) -> Check:
        """Put together with what else is known."""
        shown = tuple(self.images_with.tolist()), tuple(self.pixels.tolist())
        return Check(archive, competition, images, self.masks, tuple(faults), *shown)
