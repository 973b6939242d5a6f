"""Images with the shapes drawn on them, whatever the format, and masks made of these."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX
from vocseg.data.image_io import Bytes
from vocseg.data.voc import id_fault
from vocseg.errors import UserError, shown

Bools = npt.NDArray[np.bool_]
Notes = defaultdict[str, list[str]]  # what was left out or changed, and the image of each occurrence

FARTHEST = 100_000  # pixels from the origin: libraries trace an edge pixel by pixel


@dataclass(frozen=True)
class Shape:
    """A region of an image.

    Attributes:
        label: Its class; None: its pixels are ignored.
        draw: Its pixels, bool `[H,W]`, from width and height.
        below: Whether it lies below all shapes without this mark.
    """

    label: str | None
    draw: Callable[[int, int], Bools]
    below: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of an annotation file.

    Attributes:
        id: Its name without the ending, with sub-folders.
        source: The file that describes it.
        file: The image; None: it is embedded in the source.
        size: Width and height as the source says; None: it does not.
        shapes: In the order of the source.
        embedded: The bytes of an image that is embedded.
    """

    id: str
    source: Path
    file: Path | None
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    embedded: Callable[[], bytes] | None = None

    @property
    def place(self) -> Path:
        """The file that holds the image."""
        return self.file or self.source


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file or folder.

    Attributes:
        images: Those whose file exists.
        labels: Names by sort key, which orders the classes.
        missing: Names of images without a file.
        notes: What was left out or changed.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    labels: dict[int | str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: Notes = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class DrawnMask:
    """A mask, uint8 `[H,W]`, whether shapes of several classes overlap, and how many cover no pixel."""

    mask: Bytes
    overlap: bool
    empty: int


def draw_mask(shapes: Iterable[Shape], width: int, height: int, classes: dict[str, int]) -> DrawnMask:
    """Draw shapes into a mask: of two that overlap, the one with fewer pixels is on top.

    Args:
        shapes: In order; of two of one size the later is on top.
        width: Of the image.
        height: Of the image.
        classes: Index of each label.

    Raises:
        UserError: If a shape cannot be drawn.
    """
    mask, regions, empty = np.zeros((height, width), np.uint8), list[tuple[bool, int, Any, Bools, int]](), 0
    for shape in shapes:
        pixels = shape.draw(width, height)
        x, y, w, h = cv2.boundingRect(pixels.view(np.uint8))
        if not w:
            empty += 1
            continue
        place = np.s_[y : y + h, x : x + w]
        region = pixels[place].copy()  # the rest of a large image need not stay in memory
        value = IGNORE_INDEX if shape.label is None else classes[shape.label]
        regions.append((not shape.below, -int(region.sum()), place, region, value))
    overlap = False
    for _, _, place, region, value in sorted(regions, key=lambda each: each[:2]):
        before = mask[place][region]
        overlap |= bool(((before != 0) & (before != value)).any())
        mask[place][region] = value
    return DrawnMask(mask, overlap, empty)


def image_name(name: Any, source: Path) -> PurePosixPath:
    """The path of an image within a data set, from what an annotation program on any system wrote.

    Raises:
        UserError: If it is no name, or its id would be none.
    """
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{source} names the image {shown(repr(name))}. Export it again with file names")
    windows = "\\" in name or bool(PureWindowsPath(name).drive)
    path = PurePosixPath(PureWindowsPath(name).as_posix() if windows else name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        path = PurePosixPath(path.name)  # the folder is another machine's
    path = PurePosixPath(unicodedata.normalize("NFC", path.as_posix()))
    fault = id_fault(path.with_suffix("").as_posix()) if path.name else "is empty"
    if fault is None and any(part.startswith(".") for part in path.parts):
        fault = "begins with a dot"
    if fault is not None:
        raise UserError(
            f"{source} names the image '{shown(name)}', whose name {fault}. Rename it there and on the disk"
        )
    return path


def find_image(name: PurePosixPath, places: Sequence[Path]) -> Path | None:
    """The file of an image in the first of some folders that has it; its own sub-folders may be gone."""
    forms = (
        form
        for wanted in (name.as_posix(), name.name)
        for form in (unicodedata.normalize("NFC", wanted), unicodedata.normalize("NFD", wanted))
    )
    paths = (place / form for form in dict.fromkeys(forms) for place in places)
    return next((path for path in paths if path.is_file()), None)


def coordinates(values: Any, where: str) -> npt.NDArray[np.float64]:
    """The corners of a shape, `[N,2]`, from pairs or from a flat list of x and y.

    Raises:
        UserError: If a value is no finite number, or farther away than any image is large.
    """
    try:
        flat = np.asarray(values, np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError):
        flat = np.array([np.nan])
    if len(flat) % 2:
        raise UserError(f"{where} has an odd number of coordinates or one that is no number. Correct it")
    if not (np.abs(flat) <= FARTHEST).all():  # False for NaN too
        raise UserError(
            f"{where} has a coordinate that is not finite or larger than {FARTHEST:,}. Correct it"
        )
    return flat.reshape(-1, 2)


def whole_size(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """Width and height of an image as its annotations say; None: they do not.

    Raises:
        UserError: If they are no whole numbers.
    """
    if width is None or height is None:
        return None
    for value in (width, height):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1 or value < 1:
            raise UserError(
                f"{where}: its size is {shown((width, height))}, not two whole numbers. Correct it"
            )
    return int(width), int(height)
