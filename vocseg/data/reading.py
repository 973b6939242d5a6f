"""Reading photographs and masks from files, with every fault named.

Both are read with PIL only: cv2 turns palette masks into colours, torchvision crashes on damaged ones.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from vocseg.errors import UserError
from vocseg.voc import CLASSES, IGNORE_INDEX

Bytes = npt.NDArray[np.uint8]

_PHOTO_MODES = ("RGB", "L", "CMYK", "P", "RGBA")
_LABELS = np.zeros(256, dtype=bool)
_LABELS[[*range(len(CLASSES)), IGNORE_INDEX]] = True


def _open(path: Path, what: str) -> Image.Image:
    """Open and decode a file whole, so that damage shows here and not later."""
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise UserError(f"the {what} {path} is an animation: keep one frame of it")
            picture.load()
            return picture
    except FileNotFoundError:
        raise UserError(
            f"the {what} {path} is missing: restore it or remove its id from the split list"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise UserError(f"the {what} {path} cannot be read ({fault}): restore it from the archive") from fault


def read_image(path: Path, exif: bool = False) -> Bytes:
    """A photograph as uint8 `[H,W,3]` RGB.

    Args:
        path: A JPEG, PNG, ... file.
        exif: Turn the picture the way its camera says. VOC's masks fit the stored pixels, so only
            a user's own photographs want this.

    Raises:
        UserError: If the file is missing, damaged, animated, or has more than 8 bits a channel.
    """
    picture = _open(path, "image")
    if picture.mode not in _PHOTO_MODES:
        raise UserError(f"the image {path} has mode {picture.mode}: save it with 8 bits a channel (RGB)")
    if exif:
        picture = ImageOps.exif_transpose(picture)
    return np.asarray(picture.convert("RGB"))


def read_mask(path: Path) -> Bytes:
    """A mask as uint8 `[H,W]` of class indices 0..20 and 255 (void).

    Raises:
        UserError: If the file is missing, damaged, not a picture of indices, or holds another value.
    """
    picture = _open(path, "mask")
    if picture.mode not in ("P", "L"):
        raise UserError(
            f"the mask {path} has mode {picture.mode}, but VOC masks are palette PNGs (mode P) whose "
            "pixels are class indices: save it as such"
        )
    mask = np.asarray(picture)
    _check_labels(mask, path)
    return mask


def _check_labels(mask: Bytes, path: Path) -> None:
    """Refuse a value that is neither a class nor void."""
    wrong = ~_LABELS[mask]
    if wrong.any():
        y, x = (int(k) for k in np.argwhere(wrong)[0])
        count, last = int(wrong.sum()), len(CLASSES) - 1
        raise UserError(
            f"the mask {path} holds the value {mask[y, x]} ({count} pixels with such values, the first at "
            f"x={x}, y={y}), but only 0..{last} and {IGNORE_INDEX} (void) mean something: correct it"
        )


def read_pair(image_path: Path, mask_path: Path) -> tuple[Bytes, Bytes]:
    """A photograph `[H,W,3]` and its mask `[H,W]`, both uint8 and of one size.

    Raises:
        UserError: As `read_image` and `read_mask`, and if the two differ in size.
    """
    image, mask = read_image(image_path), read_mask(mask_path)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"the mask {mask_path} is {_size(mask)} pixels, but its image {image_path} is {_size(image)}: "
            "they must be of one size"
        )
    return image, mask


def _size(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
