"""Checks of masks."""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.constants import IGNORE_INDEX, PALETTE
from vocseg.data.audit.checks_files import DecodedFile, open_whole
from vocseg.data.audit.file_record import Bytes, Counts, FileRecord
from vocseg.data.audit.findings import Finding, UnreadableFile
from vocseg.data.classes import ClassList
from vocseg.data.fingerprint import FileContent
from vocseg.data.image_io import decode_mask_picture, mask_values
from vocseg.errors import UserError

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


REPAIRABLE = frozenset({"mask-rgb", "mask-alpha", "mask-grey", "mask-palette", "mask-jpeg"})  # if exact


def see_mask(path: Path, name: str, classes: ClassList) -> FileRecord:
    """Read a mask once and examine it.

    Args:
        path: The file.
        name: Its path within the `VOC2012` folder.
        classes: What its values may be.
    """
    try:
        opened = open_whole(path, name)
    except UnreadableFile as fault:
        return FileRecord(name, (fault.finding,))
    if opened.picture.format == "JPEG":
        text = "JPEG has changed its values: make it again from its source, as PNG"
        return FileRecord(name, (Finding(name, "mask-jpeg", text),), opened.picture.size)
    if opened.picture.mode in ("RGB", "RGBA") and classes.coloured:
        return _see_colours(opened, path, classes)
    if opened.picture.mode not in ("P", "L"):
        finding = _wrong_mode(opened.picture, name, classes)
        return FileRecord(name, (*opened.findings, finding), opened.picture.size)
    return _see_indices(opened, classes)


def _see_colours(opened: DecodedFile, path: Path, classes: ClassList) -> FileRecord:
    """A picture in the colours of the class list, read as a run reads it."""
    name, size = opened.name, opened.picture.size
    try:
        pixels = decode_mask_picture(opened.data, path, classes)
        values = mask_values(pixels, path, classes)
    except UserError as fault:
        kind = "mask-alpha" if "transparent" in fault.sentence else "mask-colour"
        text = fault.sentence.removeprefix(f"the mask {path} ")
        return FileRecord(name, (*opened.findings, Finding(name, kind, f"it {text}")), size)
    counts = np.bincount(values.ravel(), minlength=256)
    finding = _one_thing(np.flatnonzero(counts), name, classes)
    content = FileContent.of(opened.status, opened.data, pixels, mask=True)
    return FileRecord(name, opened.findings + ((finding,) if finding else ()), size, content, counts=counts)


def _see_indices(opened: DecodedFile, classes: ClassList) -> FileRecord:
    if opened.picture.mode == "L" and opened.picture.format == "PNG" and opened.data[24] < 8:
        text = (
            f"it is grey with {opened.data[24]} bits a pixel, which readers stretch to 0..255: save it with 8"
        )
        grey = Finding(opened.name, "mask-mode", text)
        return FileRecord(opened.name, (*opened.findings, grey), opened.picture.size)
    pixels = np.asarray(opened.picture)  # H,W
    counts = np.bincount(pixels.ravel(), minlength=256)
    used = np.flatnonzero(counts)
    finding = _wrong_indices(opened, pixels, used, classes) or _one_thing(used, opened.name, classes)
    return FileRecord(
        opened.name,
        opened.findings + ((finding,) if finding else ()),
        opened.picture.size,
        FileContent.of(opened.status, opened.data, pixels, mask=True),
        counts=counts,
    )


def _wrong_mode(picture: Image.Image, name: str, classes: ClassList) -> Finding:
    """What to say of a mask that is no picture of indices."""
    if picture.mode == "1":
        return Finding(name, "mask-one-bit", "it has one bit a pixel: make it again with class indices")
    if picture.mode in ("RGB", "RGBA", "LA", "PA"):
        kind = "mask-rgb" if picture.mode == "RGB" else "mask-alpha"
        text = f"it has mode {picture.mode}; {_outlook(picture, classes)}"
        return Finding(name, kind, text)
    text = f"it has mode {picture.mode}: masks are palette PNGs (mode P) whose pixels are class indices"
    return Finding(name, "mask-mode", text)


def _wrong_indices(opened: DecodedFile, pixels: Bytes, used: Counts, classes: ClassList) -> Finding | None:
    """Pixels that are not what they should be, or None."""
    picture, name = opened.picture, opened.name
    if picture.mode == "P" and permuted(picture, used, classes):
        text = "its palette has the classes' colours, but at other indices"
        return Finding(name, "mask-palette", f"{text}; {_outlook(picture, classes)}")
    if grey_copy(used, classes):
        text = "its values are the grey levels of the classes' colours"
        return Finding(name, "mask-grey", f"{text}; {_outlook(picture, classes)}")
    if classes.known[used].all():
        return None
    wrong = ~classes.known[pixels]
    y, x = (int(k) for k in np.argwhere(wrong)[0])
    values = np.unique(pixels[wrong])
    blended = ", as if it had been resized with interpolation" if len(values) > 12 else ""
    text = (
        f"value {pixels[y, x]} at x={x}, y={y}; {int(wrong.sum()):,} pixels with {len(values)} such "
        f"value{'s' * (len(values) > 1)}{blended}; known are {classes.describe_values()}: correct it, or "
        "name the value of each class with --data.mask_values"
    )
    return Finding(name, "mask-values", text)


def _one_thing(used: Counts, name: str, classes: ClassList) -> Finding | None:
    """A mask from which nothing can be learnt, or None."""
    shown = set(classes.table[used].tolist())
    if shown == {IGNORE_INDEX}:
        return Finding(name, "mask-void", "every pixel is void: nothing can be learnt from it")
    if shown == {0} and classes.names[0] == "background":
        return Finding(name, "mask-background", "every pixel is background: it shows no object")
    return None


def _outlook(picture: Image.Image, classes: ClassList) -> str:
    """Whether a repair would turn it back."""
    try:
        recover(picture, classes)
    except NotExactError as fault:
        return f"no exact repair: {fault}"
    return "--repair OUT converts it exactly"
