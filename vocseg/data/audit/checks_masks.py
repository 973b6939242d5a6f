"""Checks of masks."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.constants import IGNORE_INDEX, PALETTE
from vocseg.data.audit.checks_files import DecodedFile, open_decoded
from vocseg.data.audit.findings import Counts, FileRecord, Finding, UnreadableFile
from vocseg.data.classes import ClassList, Colour
from vocseg.data.fingerprint import FileContent
from vocseg.data.image_io import Bytes, colour_codes, decode_mask_image, mask_values
from vocseg.errors import UserError


class NotExactError(Exception):
    """A mask that cannot be converted to class indices without ambiguity."""


def recover(image: Image.Image, classes: ClassList) -> Bytes:
    """Convert the colours or grey levels of an image to mask values, uint8 `[H,W]`.

    The image is RGB(A) with the palette's colours, P with a palette in another order, or L(A) or P with the
    colours' grey levels.

    Raises:
        NotExactError: If a pixel is transparent, or has a colour of no class or of two.
    """
    if image.format == "JPEG":
        raise NotExactError("JPEG has changed its values")
    if image.mode in ("RGBA", "LA"):
        if np.asarray(image)[..., -1].min() < 255:
            raise NotExactError("some of its pixels are transparent")
        image = image.convert(image.mode.removesuffix("A"))
    if image.mode == "P" and permuted(image, np.unique(np.asarray(image)), classes):
        image = image.convert("RGB")
    if image.mode == "RGB":
        return _look_up(colour_codes(np.asarray(image)), _by_colour(classes), _colour_text)
    if image.mode in ("L", "P"):
        mask = np.asarray(image)
        if classes.known[mask].all():
            return mask
        return _look_up(mask.astype(np.int64), _by_grey(classes), "grey {}".format)
    raise NotExactError(f"mode {image.mode} is ambiguous")


def permuted(image: Image.Image, used: Counts, classes: ClassList) -> bool:
    """Return whether a palette has the classes' colours at other indices; `used` is sorted."""
    palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    if used[-1] >= len(palette):
        return False
    by_colour = _by_colour(classes)
    values_of = [by_colour.get(int(code)) for code in colour_codes(palette[used])]
    return all(values_of) and any(
        index not in (values or ()) for index, values in zip(used, values_of, strict=True)
    )


def grey_copy(used: Counts, classes: ClassList) -> bool:
    """Return whether the values are not class indices, but grey levels of the classes' colours."""
    return not classes.known[used].all() and all(value in _by_grey(classes) for value in used.tolist())


def _look_up(
    codes: npt.NDArray[np.signedinteger[Any]], values: dict[int, tuple[int, ...]], text: Callable[[int], str]
) -> Bytes:
    used, where = np.unique(codes, return_inverse=True)
    for code in used.tolist():
        matches = values.get(code, ())
        if not matches:
            count = int((codes == code).sum())
            raise NotExactError(
                f"{text(code)} ({count:,} of {codes.size:,} pixels) is the colour of no class"
            )
        if len(matches) > 1:
            raise NotExactError(f"{text(code)} may be {' or '.join(map(str, matches))}")
    return np.array([values[code][0] for code in used.tolist()], np.uint8)[where].reshape(codes.shape)


@lru_cache(maxsize=8)
def _by_colour(classes: ClassList) -> dict[int, tuple[int, ...]]:
    """Mask values by colour `0xRRGGBB`."""
    return _group(colour_codes(np.array(mask_palette(classes))[classes.known]), classes)


@lru_cache(maxsize=8)
def _by_grey(classes: ClassList) -> dict[int, tuple[int, ...]]:
    """Mask values by grey level of PIL and cv2; two pairs of VOC's colours share one."""
    colours = np.array(mask_palette(classes), np.uint8)[classes.known]
    return _group(np.asarray(Image.fromarray(colours[None]).convert("L"))[0], classes)


def mask_palette(classes: ClassList) -> Sequence[Colour]:
    """Return the colour of every mask value; class lists that merge VOC's classes use VOC's files."""
    return classes.palette if classes.as_stored else PALETTE


def _group(codes: npt.NDArray[np.generic], classes: ClassList) -> dict[int, tuple[int, ...]]:
    groups: dict[int, tuple[int, ...]] = defaultdict(tuple)
    for code, value in zip(codes.tolist(), np.flatnonzero(classes.known).tolist(), strict=True):
        groups[code] += (value,)
    return dict(groups)


def _colour_text(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"


REPAIRABLE = frozenset({"mask-rgb", "mask-alpha", "mask-grey", "mask-palette", "mask-jpeg"})  # if exact


def check_mask(path: Path, name: str, classes: ClassList) -> FileRecord:
    """Read and check a mask; `name` is its path within the `VOC2012` folder."""
    try:
        opened = open_decoded(path, name)
    except UnreadableFile as error:
        return FileRecord(name, (error.finding,))
    if opened.image.format == "JPEG":
        text = "JPEG has changed its values: export it again as PNG"
        return FileRecord(name, (Finding(name, "mask-jpeg", text),), opened.image.size)
    if opened.image.mode in ("RGB", "RGBA") and classes.coloured:
        return _see_colours(opened, path, classes)
    if opened.image.mode not in ("P", "L"):
        finding = _wrong_mode(opened.image, name, classes)
        return FileRecord(name, (*opened.findings, finding), opened.image.size)
    return _see_indices(opened, classes)


def _see_colours(opened: DecodedFile, path: Path, classes: ClassList) -> FileRecord:
    """Check a mask in the colours of the class list."""
    name, size = opened.name, opened.image.size
    try:
        pixels = decode_mask_image(opened.data, path, classes)
        values = mask_values(pixels, path, classes)
    except UserError as error:
        kind = "mask-alpha" if "transparent" in error.sentence else "mask-colour"
        text = error.sentence.removeprefix(f"the mask {path} ")
        return FileRecord(name, (*opened.findings, Finding(name, kind, f"it {text}")), size)
    return _record(opened, pixels, values, classes)


def _see_indices(opened: DecodedFile, classes: ClassList) -> FileRecord:
    if opened.image.mode == "L" and opened.image.format == "PNG" and opened.data[24] < 8:
        text = (
            f"greyscale with {opened.data[24]} bits per pixel, which decoders scale to 0..255: save it with 8"
        )
        grey = Finding(opened.name, "mask-mode", text)
        return FileRecord(opened.name, (*opened.findings, grey), opened.image.size)
    pixels = np.asarray(opened.image)  # H,W
    used = np.flatnonzero(np.bincount(pixels.ravel()))
    return _record(opened, pixels, pixels, classes, _wrong_indices(opened, pixels, used, classes))


def _record(
    opened: DecodedFile, pixels: Bytes, values: Bytes, classes: ClassList, finding: Finding | None = None
) -> FileRecord:
    """Record of a mask with its pixels as stored and as mask values `[H,W]`."""
    counts = np.bincount(values.ravel(), minlength=256)
    finding = finding or _single_class(np.flatnonzero(counts), opened.name, classes)
    content = FileContent.of(opened.status, opened.data, pixels, mask=True)
    findings = opened.findings + ((finding,) if finding else ())
    return FileRecord(opened.name, findings, opened.image.size, content, counts=counts)


def _wrong_mode(image: Image.Image, name: str, classes: ClassList) -> Finding:
    """Finding of a mask without class indices."""
    if image.mode == "1":
        return Finding(name, "mask-one-bit", "export it again with class indices")
    if image.mode in ("RGB", "RGBA", "LA", "PA"):
        kind = "mask-rgb" if image.mode == "RGB" else "mask-alpha"
        return Finding(name, kind, f"mode {image.mode}; {_outlook(image, classes)}")
    text = f"mode {image.mode}: save it as palette PNG (mode P) of class indices"
    return Finding(name, "mask-mode", text)


def _wrong_indices(opened: DecodedFile, pixels: Bytes, used: Counts, classes: ClassList) -> Finding | None:
    """Finding of the pixel values, or None."""
    image, name = opened.image, opened.name
    if image.mode == "P" and permuted(image, used, classes):
        text = "the palette has the classes' colours at other indices"
        return Finding(name, "mask-palette", f"{text}; {_outlook(image, classes)}")
    if grey_copy(used, classes):
        text = "the values are the grey levels of the classes' colours"
        return Finding(name, "mask-grey", f"{text}; {_outlook(image, classes)}")
    if classes.known[used].all():
        return None
    wrong = ~classes.known[pixels]
    y, x = (int(k) for k in np.argwhere(wrong)[0])
    values = np.unique(pixels[wrong])
    blended = ", as if it had been resized with interpolation" if len(values) > 12 else ""
    text = (
        f"value {pixels[y, x]} at x={x}, y={y}; {int(wrong.sum()):,} pixels with {len(values)} such "
        f"value{'s' * (len(values) > 1)}{blended}; valid: {classes.describe_values()}: correct it, or "
        "pass the value of each class with --data.mask_values"
    )
    return Finding(name, "mask-values", text)


def _single_class(used: Counts, name: str, classes: ClassList) -> Finding | None:
    """Finding of a mask without an object, or None."""
    shown = set(classes.table[used].tolist())
    if shown == {IGNORE_INDEX}:
        return Finding(name, "mask-void", "every pixel is 255: label it, or remove its id")
    if shown == {0} and classes.names[0] == "background":
        return Finding(name, "mask-background", "every pixel is background: label it, or remove its id")
    return None


def _outlook(image: Image.Image, classes: ClassList) -> str:
    """Whether a repair is possible, as text."""
    try:
        recover(image, classes)
    except NotExactError as error:
        return f"no exact repair: {error}"
    return "--repair OUT converts it exactly"
