"""Masks with the palette's colours where class indices should stand, and how to turn them back exactly."""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.classes import ClassList
from vocseg.voc import PALETTE

Bytes = npt.NDArray[np.uint8]
_Codes = npt.NDArray[np.int64]


class NotExactError(Exception):
    """A mask that cannot be turned back without guessing; the message says why."""


def recover(picture: Image.Image, classes: ClassList) -> Bytes:
    """The mask values, uint8 `[H,W]`, behind the colours or grey levels of a picture.

    Args:
        picture: RGB(A) with the palette's colours, P with a palette in another order, or L(A) or P with the
            colours' grey levels; no JPEG.
        classes: Whose colours they are.

    Raises:
        NotExactError: If a pixel has a colour that no class has, or that two share, or is transparent.
    """
    if picture.format == "JPEG":
        raise NotExactError("JPEG has changed its values")
    if picture.mode in ("RGBA", "LA"):
        if np.asarray(picture)[..., -1].min() < 255:
            raise NotExactError("some of its pixels are transparent")
        picture = picture.convert(picture.mode.removesuffix("A"))
    if picture.mode == "P" and permuted(picture, np.unique(np.asarray(picture)), classes):
        picture = picture.convert("RGB")
    if picture.mode == "RGB":
        return _look_up(_codes(np.asarray(picture)), _by_colour(classes), _colour_text)
    if picture.mode in ("L", "P"):
        mask = np.asarray(picture)
        if classes.known[mask].all():
            return mask
        return _look_up(mask.astype(np.int64), _by_grey(classes), "grey {}".format)
    raise NotExactError(f"mode {picture.mode} says nothing certain")


def permuted(picture: Image.Image, used: _Codes | Bytes, classes: ClassList) -> bool:
    """Whether the palette of a picture has the classes' colours, but at other indices.

    Args:
        picture: Of mode P.
        used: The indices that occur in it, ascending.
        classes: Whose colours they are.
    """
    flat = picture.getpalette() or []
    palette = np.asarray(flat, np.int64).reshape(-1, 3)
    if used[-1] >= len(palette):
        return False
    by_colour = _by_colour(classes)
    means = [by_colour.get(int(code)) for code in _codes(palette[used])]
    return all(means) and any(
        index not in values for index, values in zip(used, means, strict=True) if values
    )


def grey_copy(used: _Codes, classes: ClassList) -> bool:
    """Whether the values of a mask are not all mask values, but all grey levels of the classes' colours."""
    return not classes.known[used].all() and all(value in _by_grey(classes) for value in used.tolist())


def _look_up(codes: _Codes, values: dict[int, tuple[int, ...]], text: Callable[[int], str]) -> Bytes:
    used, where = np.unique(codes, return_inverse=True)
    for code in used.tolist():
        meant = values.get(code, ())
        if not meant:
            count = int((codes == code).sum())
            raise NotExactError(
                f"{text(code)} ({count:,} of {codes.size:,} pixels) is the colour of no class"
            )
        if len(meant) > 1:
            raise NotExactError(f"{text(code)} may be {' or '.join(map(str, meant))}")
    return np.array([values[code][0] for code in used.tolist()], np.uint8)[where].reshape(codes.shape)


@lru_cache(maxsize=8)
def _by_colour(classes: ClassList) -> dict[int, tuple[int, ...]]:
    """The mask values of each colour, as `0xRRGGBB`."""
    return _group(_codes(_colours(classes)[np.flatnonzero(classes.known)]), classes)


@lru_cache(maxsize=8)
def _by_grey(classes: ClassList) -> dict[int, tuple[int, ...]]:
    """The mask values of each grey level, as PIL and cv2 make it: two pairs of VOC's colours share one."""
    colours = _colours(classes)[np.flatnonzero(classes.known)].astype(np.uint8)
    return _group(np.asarray(Image.fromarray(colours[None]).convert("L"))[0], classes)


def _colours(classes: ClassList) -> _Codes:
    """The colour of every mask value, `[256,3]`: a list that merges VOC's classes is about VOC's files."""
    return np.asarray(classes.palette if classes.as_stored else PALETTE, np.int64)


def _group(codes: npt.NDArray[np.generic], classes: ClassList) -> dict[int, tuple[int, ...]]:
    groups: dict[int, tuple[int, ...]] = defaultdict(tuple)
    for code, value in zip(codes.tolist(), np.flatnonzero(classes.known).tolist(), strict=True):
        groups[code] += (value,)
    return dict(groups)


def _codes(pixels: npt.NDArray[np.generic]) -> _Codes:
    """`[...,3]` to `[...]`: `0xRRGGBB`."""
    wide = pixels.astype(np.int64)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _colour_text(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"
