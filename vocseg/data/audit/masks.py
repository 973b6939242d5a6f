"""What is examined in one mask."""

from pathlib import Path

import numpy as np
from PIL import Image

from vocseg.classes import ClassList
from vocseg.data.audit.decoding import Opened, open_whole
from vocseg.data.audit.findings import Finding, Unusable
from vocseg.data.audit.renderings import NotExactError, grey_copy, permuted, recover
from vocseg.data.audit.seen import Bytes, Counts, Seen
from vocseg.data.contents import FileContent
from vocseg.data.decoding import decode_mask_picture, mask_values
from vocseg.errors import UserError
from vocseg.voc import IGNORE_INDEX

REPAIRABLE = frozenset({"mask-rgb", "mask-alpha", "mask-grey", "mask-palette", "mask-jpeg"})  # if exact


def see_mask(path: Path, name: str, classes: ClassList) -> Seen:
    """Read a mask once and examine it.

    Args:
        path: The file.
        name: Its path within the `VOC2012` folder.
        classes: What its values may be.
    """
    try:
        opened = open_whole(path, name)
    except Unusable as fault:
        return Seen(name, (fault.finding,))
    if opened.picture.format == "JPEG":
        text = "JPEG has changed its values: make it again from its source, as PNG"
        return Seen(name, (Finding(name, "mask-jpeg", text),), opened.picture.size)
    if opened.picture.mode in ("RGB", "RGBA") and classes.coloured:
        return _see_colours(opened, path, classes)
    if opened.picture.mode not in ("P", "L"):
        finding = _wrong_mode(opened.picture, name, classes)
        return Seen(name, (*opened.findings, finding), opened.picture.size)
    return _see_indices(opened, classes)


def _see_colours(opened: Opened, path: Path, classes: ClassList) -> Seen:
    """A picture in the colours of the class list, read as a run reads it."""
    name, size = opened.name, opened.picture.size
    try:
        pixels = decode_mask_picture(opened.data, path, classes)
        values = mask_values(pixels, path, classes)
    except UserError as fault:
        kind = "mask-alpha" if "transparent" in fault.sentence else "mask-colour"
        text = fault.sentence.removeprefix(f"the mask {path} ")
        return Seen(name, (*opened.findings, Finding(name, kind, f"it {text}")), size)
    counts = np.bincount(values.ravel(), minlength=256)
    finding = _one_thing(np.flatnonzero(counts), name, classes)
    content = FileContent.of(opened.status, opened.data, pixels, mask=True)
    return Seen(name, opened.findings + ((finding,) if finding else ()), size, content, counts=counts)


def _see_indices(opened: Opened, classes: ClassList) -> Seen:
    if opened.picture.mode == "L" and opened.picture.format == "PNG" and opened.data[24] < 8:
        text = (
            f"it is grey with {opened.data[24]} bits a pixel, which readers stretch to 0..255: save it with 8"
        )
        grey = Finding(opened.name, "mask-mode", text)
        return Seen(opened.name, (*opened.findings, grey), opened.picture.size)
    pixels = np.asarray(opened.picture)  # H,W
    counts = np.bincount(pixels.ravel(), minlength=256)
    used = np.flatnonzero(counts)
    finding = _wrong_indices(opened, pixels, used, classes) or _one_thing(used, opened.name, classes)
    return Seen(
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


def _wrong_indices(opened: Opened, pixels: Bytes, used: Counts, classes: ClassList) -> Finding | None:
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
