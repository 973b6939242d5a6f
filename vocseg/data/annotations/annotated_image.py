"""Annotated images, and their conversion to image and mask files."""

import io
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from vocseg.constants import IGNORE_INDEX
from vocseg.data.image_io import LOSSY, Bytes, decode_image, read_bytes, save_mask
from vocseg.data.voc import IMAGE_ENDINGS, id_fault
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import AtomicFolder
from vocseg.utils.regular_file import read_json

Bools = npt.NDArray[np.bool_]
Notes = defaultdict[str, list[str]]  # text of a note: image of each occurrence

_OVERLAP = "images have overlapping regions of several classes: the smaller region is on top"
_OUTSIDE = "regions without a pixel are left out"
_ROTATED = "images are rotated as their EXIF orientation requires"
_AS_STORED = "images keep their stored orientation, which their annotations fit"
_AMBIGUOUS = "of these have the same size when rotated: check one of the masks"

FARTHEST = 100_000  # pixels from the origin; libraries trace edges pixel by pixel


@dataclass(frozen=True)
class Shape:
    """A region of an image.

    Attributes:
        label: Class name; None: its pixels are ignored (255).
        draw: Function of width and height that returns its pixels, bool `[H,W]`.
        below: Draw it below all shapes without this flag.
    """

    label: str | None
    draw: Callable[[int, int], Bools]
    below: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its shapes.

    Attributes:
        id: Path without suffix, including sub-folders.
        source: Annotation file.
        file: Image file; None: embedded in the source.
        size: Width and height given by the source; None: not given.
        shapes: Shapes in the order of the source.
        embedded: Function that returns the bytes of an embedded image.
    """

    id: str
    source: Path
    file: Path | None
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    embedded: Callable[[], bytes] | None = None

    @property
    def location(self) -> Path:
        """The file that holds the image."""
        return self.file or self.source


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file or folder.

    Attributes:
        images: Images whose file exists.
        labels: Class names by sort key, which orders the classes.
        missing: Names of images without a file.
        notes: Omissions and changes.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    labels: dict[int | str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: Notes = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class DrawnMask:
    """A mask.

    Attributes:
        mask: uint8 `[H,W]`.
        overlap: True if shapes of several classes overlap.
        empty: Number of shapes without a pixel.
    """

    mask: Bytes
    overlap: bool
    empty: int


def draw_mask(shapes: Iterable[Shape], width: int, height: int, classes: dict[str, int]) -> DrawnMask:
    """Draw shapes into a mask. Shapes with fewer pixels are drawn on top, and of equal ones the later.

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
        box = np.s_[y : y + h, x : x + w]
        region = pixels[box].copy()  # a copy frees the memory of the full image
        value = IGNORE_INDEX if shape.label is None else classes[shape.label]
        regions.append((not shape.below, -int(region.sum()), box, region, value))
    overlap = False
    for _, _, box, region, value in sorted(regions, key=lambda each: each[:2]):
        before = mask[box][region]
        overlap |= bool(((before != 0) & (before != value)).any())
        mask[box][region] = value
    return DrawnMask(mask, overlap, empty)


def read_lists(path: Path, most: int, names: Sequence[str], otherwise: str) -> dict[str, Any]:
    """Read a JSON object of at most `most` bytes that has the lists `names`.

    Raises:
        UserError: If it cannot be read, or lacks a list; `otherwise` tells what to do then.
    """
    try:
        content = read_json(path, most)
    except FileNotFoundError:
        raise UserError(f"no file {path}. Pass a JSON file of annotations.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Make it readable.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {shown(str(error))}. Export it again.") from error
    for name in names:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise UserError(f"{path} has no list '{name}'. {otherwise}")
    return dict(content)


def image_name(name: Any, source: Path) -> PurePosixPath:
    """Return the path of an image within a data set, from its name in an annotation file of any system.

    Raises:
        UserError: If it is not a name, or not a valid id.
    """
    if not isinstance(name, str) or not name.strip():
        raise UserError(
            f"{source} has an invalid image name {shown(repr(name))}. Export it again with file names."
        )
    windows = "\\" in name or bool(PureWindowsPath(name).drive)
    path = PurePosixPath(PureWindowsPath(name).as_posix() if windows else name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        path = PurePosixPath(path.name)  # a folder of another machine
    path = PurePosixPath(unicodedata.normalize("NFC", path.as_posix()))
    error = id_fault(path.with_suffix("").as_posix()) if path.name else "is empty"
    if error is None and any(part.startswith(".") for part in path.parts):
        error = "begins with a dot"
    if error is not None:
        raise UserError(
            f"{source} has the image '{shown(name)}', whose name {error}. Rename it there and on disk."
        )
    return path


def find_image(name: PurePosixPath, folders: Sequence[Path]) -> Path | None:
    """Return the first file of an image in some folders, with or without its sub-folders."""
    forms = (
        form
        for wanted in (name.as_posix(), name.name)
        for form in (unicodedata.normalize("NFC", wanted), unicodedata.normalize("NFD", wanted))
    )
    paths = (folder / form for form in dict.fromkeys(forms) for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def coordinates(values: Any, where: str) -> npt.NDArray[np.float64]:
    """Convert pairs, or a flat list of x and y, to points `[N,2]`.

    Raises:
        UserError: If a value is not a finite number, or out of range.
    """
    try:
        flat = np.asarray(values, np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError):
        flat = np.array([np.nan])
    if len(flat) % 2:
        raise UserError(f"{where} has an odd number of coordinates or one that is not a number. Correct it.")
    if not (np.abs(flat) <= FARTHEST).all():  # False for NaN too
        raise UserError(
            f"{where} has a coordinate that is not finite or larger than {FARTHEST:,}. Correct it."
        )
    return flat.reshape(-1, 2)


def image_size(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """Return width and height of an image from its annotations; None: not given.

    Raises:
        UserError: If they are not positive integers.
    """
    if width is None or height is None:
        return None
    for value in (width, height):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1 or value < 1:
            raise UserError(
                f"{where}: its size is {shown((width, height))}, not two positive integers. Correct it."
            )
    return int(width), int(height)


class PairWriter:
    """Writer of the image and the mask at an index; returns notes with the image's id."""

    def __init__(
        self, folder: AtomicFolder, images: Sequence[AnnotatedImage], classes: dict[str, int], link: bool
    ) -> None:
        """Store folder, images, class index of each label, and whether to hard-link unchanged images."""
        self._folder, self._images, self._classes, self._link = folder, images, classes, link

    def __call__(self, index: int) -> list[tuple[str, str]]:
        """Write one pair.

        Raises:
            UserError: If the image cannot be read, or its size is not that of the annotations.
        """
        image = self._images[index]
        data = image.embedded() if image.embedded else read_bytes(image.location, "image")[0]
        pixels, notes = _upright(image, data)
        height, width = pixels.shape[:2]
        if image.size not in (None, (width, height)):
            assert image.size is not None
            raise UserError(
                f"the image {image.location} is {width}x{height} pixels, but its annotations were drawn on "
                f"{image.size[0]}x{image.size[1]}. Restore the annotated image."
            )
        self._save(image, data, pixels, _ROTATED in notes)
        drawn = draw_mask(image.shapes, width, height, self._classes)
        stream = io.BytesIO()
        save_mask(drawn.mask, stream)
        self._folder.write(f"SegmentationClass/{image.id}.png", stream.getvalue())
        notes += [_OVERLAP] * drawn.overlap + [_OUTSIDE] * drawn.empty
        return [(text, image.id) for text in notes]

    def _save(self, image: AnnotatedImage, data: bytes, pixels: Bytes, rotated: bool) -> None:
        """Write an image unchanged, or encode it if it was rotated or has an unknown suffix."""
        with Image.open(io.BytesIO(data)) as opened:
            kind = str(opened.format)
        default = ".jpg" if kind in ("JPEG", "MPO") else f".{kind.lower()}"
        suffix = image.file.suffix if image.file else default
        name = f"JPEGImages/{image.id}"
        if rotated or suffix.lower() not in IMAGE_ENDINGS:
            stream = io.BytesIO()
            lossy = kind in LOSSY
            Image.fromarray(pixels).save(stream, "JPEG" if lossy else "PNG", quality=95, subsampling=0)
            self._folder.write(f"{name}{'.jpg' if lossy else '.png'}", stream.getvalue())
        elif self._link and image.file:
            self._folder.link(f"{name}{suffix}", image.file)
        else:
            self._folder.write(f"{name}{suffix}", data)


def _upright(image: AnnotatedImage, data: bytes) -> tuple[Bytes, list[str]]:
    """Annotated pixels, RGB `[H,W,3]`, and notes.

    Most programs apply the EXIF orientation. The size in the annotations identifies those that do not.
    """
    pixels = decode_image(data, image.location)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises nearly anything on corrupt EXIF, which programs ignore
        orientation = 1
    if orientation not in range(2, 9):
        return pixels, []
    rotated = decode_image(data, image.location, exif=True)
    if image.size is not None and rotated.shape != pixels.shape:
        if image.size == (pixels.shape[1], pixels.shape[0]):
            return pixels, [_AS_STORED]
        return rotated, [_ROTATED]
    return rotated, [] if np.array_equal(rotated, pixels) else [_ROTATED, _AMBIGUOUS]
