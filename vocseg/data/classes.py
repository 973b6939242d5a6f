"""Names and colours of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """Names and colours by class index, and the values in mask files that stand for each.

    Attributes:
        names: By class index.
        colours: RGB of each, 0..255.
        values: Mask values of each class; several where classes of the files are merged.
        void: Ignored mask values besides 255 (unless 255 is a class's).
        coloured: True if masks may be RGB images in these colours, which are the user's and all different.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    values: tuple[tuple[int, ...], ...]
    void: tuple[int, ...] = ()
    coloured: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        # Short, as it is a default in signatures that `help` prints.
        names = self.names if len(self) <= 4 else (*self.names[:2], "...", self.names[-1])
        return f"<ClassList of {len(self)}: {', '.join(names)}>"

    @cached_property
    def table(self) -> npt.NDArray[np.uint8]:
        """Class index of every mask value, uint8 `[256]`, 255 for ignored ones."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        for index, values in enumerate(self.values):
            table[list(values)] = index
        return table

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """Mask values that are allowed in a file, bool `[256]`."""
        known = np.zeros(256, bool)
        known[[value for values in self.values for value in values] + [*self.void, IGNORE_INDEX]] = True
        return known

    @cached_property
    def as_stored(self) -> bool:
        """True if mask files hold class indices already."""
        return all(values == (index,) for index, values in enumerate(self.values)) and not self.void

    def to_indices(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Convert mask values to class indices, uint8 of any shape."""
        return mask if self.as_stored else self.table[mask]

    @cached_property
    def palette(self) -> tuple[Colour, ...]:
        """256 colours: the classes', then VOC's, whose last one is the ignored pixels'."""
        return self.colours + PALETTE[len(self) :]

    def describe_values(self) -> str:
        """Return the allowed mask values as text, such as `0..20 and 255 (void)`."""
        values = np.flatnonzero(self.known).tolist()
        void = [] if self.table[IGNORE_INDEX] != IGNORE_INDEX else [f"{values.pop()} (void)"]
        run = values == list(range(values[0], values[-1] + 1)) and len(values) > 2
        some = [f"{values[0]}..{values[-1]}"] if run else [*map(str, values)]
        *others, last = some + void
        return f"{', '.join(others)} and {last}" if others else last

    @cached_property
    def by_colour(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Colours of RGB masks as `0xRRGGBB`, ascending, and the mask value of each.

        VOC's colour of 255 means ignored, unless it is a class's.
        """
        has_void = self.table[IGNORE_INDEX] == IGNORE_INDEX
        codes = {colour_code(PALETTE[IGNORE_INDEX]): IGNORE_INDEX} if has_void else {}
        codes |= {colour_code(each): group[0] for each, group in zip(self.colours, self.values, strict=True)}
        return np.array(sorted(codes), np.int32), np.array([codes[key] for key in sorted(codes)], np.uint8)


def colour_code(colour: Sequence[int]) -> int:
    """Return a colour as `0xRRGGBB`."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


VOC_CLASSES = ClassList(CLASSES, PALETTE[: len(CLASSES)], tuple((k,) for k in range(len(CLASSES))))


def named_classes(names: Sequence[str], colours: Sequence[Sequence[int]] | None = None) -> ClassList:
    """Create a list of classes whose masks hold their indices; default colours are VOC's, by position."""
    chosen = PALETTE[: len(names)] if colours is None else [(int(r), int(g), int(b)) for r, g, b in colours]
    return ClassList(tuple(names), tuple(chosen), tuple((k,) for k in range(len(names))))


def numbered_classes(count: int) -> ClassList:
    """Return VOC's classes if there are 21, else classes named by number."""
    return VOC_CLASSES if count == len(VOC_CLASSES) else named_classes([f"class {k}" for k in range(count)])
