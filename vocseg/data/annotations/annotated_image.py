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
from PIL import Image

from vocseg.constants import IGNORE_INDEX
from vocseg.data.image_io import LOSSY, Bytes, decode_image, exif_orientation, read_bytes, save_mask
from vocseg.data.voc import IMAGE_ENDINGS, id_fault
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import AtomicFolder
from vocseg.utils.regular_file import read_json

Bools = npt.NDArray[np.bool_]
Notes = defaultdict[str, list[str]]  # text of a note: image of each occurrence

_MOST_BYTES = 4 << 30  # of a JSON; COCO's own training annotations have 450 MB
_OVERLAP = "images have overlapping regions of several classes: the smaller region is on top"
_OUTSIDE = "regions without a pixel are left out"
_ROTATED = "images are rotated as their EXIF orientation requires"

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
        size: Width and height given by the source; None in them: not given.
        shapes: Shapes in the order of the source.
        embedded: Function that returns the bytes of an embedded image.
    """

    id: str
    source: Path
    file: Path | None
    size: tuple[Any, Any]
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


def read_lists(path: Path, names: Sequence[str], otherwise: str) -> dict[str, Any]:
    """Read a JSON object that has the lists `names`.

    Raises:
        UserError: If it cannot be read, or lacks a list; `otherwise` tells what to do then.
    """
    try:
        content = read_json(path, _MOST_BYTES)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}. Pass a JSON file of annotations."
        ) from error
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
    names = [unicodedata.normalize(form, each) for each in (str(name), name.name) for form in ("NFC", "NFD")]
    paths = (folder / each for each in names for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def coordinates(values: Any, where: str) -> npt.NDArray[np.float64]:
    """Convert pairs, or a flat list of x and y, to points `[N,2]`.

    Raises:
        UserError: If a value is not a finite number, or out of range.
    """
    try:
        points = np.asarray(values, np.float64).reshape(-1, 2)
        valid = bool((np.abs(points) <= FARTHEST).all())  # False for NaN too
    except (ValueError, TypeError, OverflowError):
        valid = False
    if not valid:
        raise UserError(
            f"{where} has coordinates that are not pairs of finite numbers up to {FARTHEST:,}. Correct it."
        )
    return points


def write_pair(folder: AtomicFolder, image: AnnotatedImage, classes: dict[str, int]) -> list[tuple[str, str]]:
    """Write an image, upright, and its mask. Return notes with the image's id.

    `classes` are the class indices by label. An image that needs no rotation keeps its bytes.

    Raises:
        UserError: If the image cannot be read, or its size is not that of the annotations.
    """
    data = image.embedded() if image.embedded else read_bytes(image.location, "image")[0]
    pixels = decode_image(data, image.location)
    notes = []
    if exif_orientation(data) > 1:
        # Most programs apply the EXIF orientation. The size in the annotations shows those that do not.
        upright = decode_image(data, image.location, exif=True)
        if upright.shape == pixels.shape or image.size != pixels.shape[1::-1]:
            pixels, notes = upright, [_ROTATED]
    height, width = pixels.shape[:2]
    if None not in image.size and image.size != (width, height):
        raise UserError(
            f"the image {image.location} is {width}x{height} pixels, but its annotations were drawn on "
            f"{shown(image.size[0])}x{shown(image.size[1])}. Restore the annotated image."
        )
    _write_image(folder, image, data, pixels, bool(notes))
    mask, found = draw_mask(image.shapes, width, height, classes)
    stream = io.BytesIO()
    save_mask(mask, stream)
    folder.write(f"SegmentationClass/{image.id}.png", stream.getvalue())
    return [(text, image.id) for text in [*notes, *found]]


def _write_image(
    folder: AtomicFolder, image: AnnotatedImage, data: bytes, pixels: Bytes, rotated: bool
) -> None:
    """Write an image unchanged, or encode it if it was rotated or has an unknown suffix."""
    with Image.open(io.BytesIO(data)) as opened:
        kind = str(opened.format)
    default = ".jpg" if kind in ("JPEG", "MPO") else f".{kind.lower()}"
    suffix = image.file.suffix if image.file else default
    if rotated or suffix.lower() not in IMAGE_ENDINGS:
        stream = io.BytesIO()
        lossy = kind in LOSSY
        Image.fromarray(pixels).save(stream, "JPEG" if lossy else "PNG", quality=95, subsampling=0)
        suffix, data = ".jpg" if lossy else ".png", stream.getvalue()
    folder.write(f"JPEGImages/{image.id}{suffix}", data)


def draw_mask(
    shapes: Iterable[Shape], width: int, height: int, classes: dict[str, int]
) -> tuple[Bytes, list[str]]:
    """Draw shapes into a mask uint8 `[H,W]`, and return it with notes.

    Shapes with fewer pixels are drawn on top, and of equal ones the later.

    Raises:
        UserError: If a shape cannot be drawn.
    """
    mask, regions, notes = np.zeros((height, width), np.uint8), list[tuple[bool, int, Any, Bools, int]](), []
    for shape in shapes:
        pixels = shape.draw(width, height)
        x, y, w, h = cv2.boundingRect(pixels.view(np.uint8))
        if not w:
            notes.append(_OUTSIDE)
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
    return mask, notes + [_OVERLAP] * overlap
