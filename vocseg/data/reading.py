"""Reading photographs and masks from files, with every fault named.

PIL is the judge: it reads every photograph's header, and whatever is odd or damaged. A JPEG that it calls
plain RGB and that ends as it should is decoded by cv2, to the same pixels in two thirds of the time (cv2
alone would fill the missing part of a truncated one with grey), and a plain mask by `png` (cv2 turns palette
masks into colours, torchvision crashes on damaged ones).
"""

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from vocseg.classes import VOC_CLASSES, ClassList
from vocseg.data.png import decode_plain_png
from vocseg.errors import UserError

Bytes = npt.NDArray[np.uint8]

_PHOTO_MODES = ("RGB", "L", "CMYK", "P", "RGBA")
_END_OF_JPEG = b"\xff\xd9"


class Pair(NamedTuple):
    """A photograph uint8 `[H,W,3]` RGB and its mask uint8 `[H,W]`, as the files have them."""

    image: Bytes
    mask: Bytes


def read_bytes(path: Path, what: str) -> tuple[bytes, os.stat_result]:
    """The content of a file, and its size and times before it was read.

    Args:
        path: Where it is.
        what: `image` or `mask`, to be named in a sentence.

    Raises:
        UserError: If it is missing or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return file.read(), status
    except FileNotFoundError:
        raise UserError(
            f"the {what} {path} is missing: restore it or remove its id from the split list"
        ) from None
    except OSError as fault:
        raise UserError(f"the {what} {path} cannot be read ({fault.strerror}): make it readable") from fault


def read_image(path: Path, exif: bool = False) -> Bytes:
    """A photograph as uint8 `[H,W,3]` RGB.

    Args:
        path: A JPEG, PNG, ... file.
        exif: Turn the picture the way its camera says. VOC's masks fit the stored pixels, so only
            a user's own photographs want this.

    Raises:
        UserError: If the file is missing, damaged, animated, or has more than 8 bits a channel.
    """
    return decode_image(read_bytes(path, "image")[0], path, exif)


def read_mask(path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A mask as uint8 `[H,W]`, with the values that the file has.

    Raises:
        UserError: If the file is missing, damaged, not a picture of indices, or holds a value that is no
            class's.
    """
    return decode_mask(read_bytes(path, "mask")[0], path, classes)


def read_pair(image_path: Path, mask_path: Path, classes: ClassList = VOC_CLASSES) -> Pair:
    """A photograph and its mask.

    Raises:
        UserError: As `read_image` and `read_mask`, and if the two differ in size.
    """
    pair = Pair(read_image(image_path), read_mask(mask_path, classes))
    check_sizes(pair, image_path, mask_path)
    return pair


def check_sizes(pair: Pair, image_path: Path, mask_path: Path) -> None:
    """Whether a photograph and its mask are of one size.

    Raises:
        UserError: If not.
    """
    if pair.image.shape[:2] != pair.mask.shape:
        raise UserError(
            f"the mask {mask_path} is {_size(pair.mask)} pixels, but its image {image_path} is "
            f"{_size(pair.image)}: they must be of one size"
        )


def decode_image(data: bytes, path: Path, exif: bool = False) -> Bytes:
    """What `read_image` gives, from the file's bytes; `path` is for the sentence."""
    picture = _open(data, path, "image")
    if picture.mode not in _PHOTO_MODES:
        raise UserError(f"the image {path} has mode {picture.mode}: save it with 8 bits a channel (RGB)")
    if picture.format == "JPEG" and picture.mode == "RGB" and data.endswith(_END_OF_JPEG) and not exif:
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None:
            return np.asarray(pixels, np.uint8)
    _load(picture, path, "image")
    if exif:
        picture = ImageOps.exif_transpose(picture)
    return np.asarray(picture.convert("RGB"))


def decode_mask(data: bytes, path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """What `read_mask` gives, from the file's bytes; `path` is for the sentence."""
    mask = decode_plain_png(data)
    mask = _decode_odd_mask(data, path) if mask is None else mask
    # 255 becomes 0: one pass says whether all are 0..C-1 or void.
    if (mask + np.uint8(1)).max() > len(classes) or not classes.as_stored:
        _check_values(mask, path, classes)
    return mask


def _decode_odd_mask(data: bytes, path: Path) -> Bytes:
    """A mask that is no plain PNG, or damaged."""
    picture = _open(data, path, "mask")
    if picture.mode not in ("P", "L"):
        raise UserError(
            f"the mask {path} has mode {picture.mode}, but masks are palette PNGs (mode P) whose pixels are "
            "class indices: save it as such, or convert VOC's colours with `python -m vocseg audit --repair`"
        )
    _load(picture, path, "mask")
    return np.asarray(picture)


def _open(data: bytes, path: Path, what: str) -> Image.Image:
    """The picture with its header read."""
    try:
        picture = Image.open(io.BytesIO(data))
        frames = getattr(picture, "n_frames", 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise _unreadable(path, what, fault) from fault
    if frames > 1:
        raise UserError(f"the {what} {path} is an animation: keep one frame of it")
    return picture


def _load(picture: Image.Image, path: Path, what: str) -> None:
    """Decode it whole, so that damage shows here and not later."""
    try:
        picture.load()
    except (OSError, ValueError, SyntaxError) as fault:
        raise _unreadable(path, what, fault) from fault


def _unreadable(path: Path, what: str, fault: Exception) -> UserError:
    reason = "it is no picture" if "BytesIO" in str(fault) else str(fault)
    return UserError(f"the {what} {path} cannot be read ({reason}): restore it from the archive")


def _check_values(mask: Bytes, path: Path, classes: ClassList) -> None:
    """Refuse a value that means nothing, by the first place where it stands."""
    wrong = ~classes.known[mask]
    if not wrong.any():
        return
    y, x = (int(k) for k in np.argwhere(wrong)[0])
    raise UserError(
        f"the mask {path} holds the value {mask[y, x]} ({int(wrong.sum())} pixels with such values, the "
        f"first at x={x}, y={y}), but only {classes.describe_values()} mean something: correct it, or name "
        "another list of classes with --data.classes"
    )


def _size(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
