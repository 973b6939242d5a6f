"""Reading photographs and masks from files."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from vocseg.classes import VOC_CLASSES, ClassList
from vocseg.data.decoding import Bytes, decode_image, decode_mask
from vocseg.errors import UserError
from vocseg.plain_files import read_plain

MOST_BYTES = 1 << 30  # of a file; a picture that may be read has a fifth of it uncompressed


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
        return read_plain(path, MOST_BYTES)
    except FileNotFoundError:
        raise UserError(
            f"the {what} {path} is missing: restore it or remove its id from the split list"
        ) from None
    except OSError as fault:
        raise UserError(
            f"the {what} {path} cannot be read ({fault.strerror}): put the {what} there"
        ) from fault


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


def _size(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
