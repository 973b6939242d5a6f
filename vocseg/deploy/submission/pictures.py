"""Whether the bytes of one mask are what the server takes."""

import io
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from vocseg.data.audit.streams import stream_fault
from vocseg.voc import CLASSES, IGNORE_INDEX, PALETTE

Size = tuple[int, int]  # width, height
_COLOURS = [*range(len(CLASSES)), IGNORE_INDEX]  # the palette's entries that must be VOC's


class Picture(NamedTuple):
    """What is wrong with a file, as kinds and texts, and its class indices uint8 `[H,W]` if it has any."""

    wrong: list[tuple[str, str]]
    indices: npt.NDArray[np.uint8] | None


def examine(data: bytes, size: Size) -> Picture:
    """Look at everything in a mask's file.

    Args:
        data: Its bytes.
        size: Width and height of its image.
    """
    if not data:
        return Picture([("unreadable", "it has 0 bytes")], None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        return Picture([("not-png", f"it is no picture (it begins with {data[:12]!r})")], None)
    except Exception as fault:  # PIL raises nearly anything on damaged bytes
        return Picture([("unreadable", " ".join(str(fault).split()))], None)
    if picture.format != "PNG":
        return Picture([("not-png", f"it is a {picture.format}, whatever its name")], None)
    wrong = [] if picture.size == size else [("size", _sizes(picture.size, size))]
    if picture.width * picture.height > 4 * size[0] * size[1]:
        return Picture(wrong, None)  # not worth the memory
    return _decoded(picture, data, wrong)


def _sizes(found: Size, due: Size) -> str:
    turned = ", as if it was turned" if found == due[::-1] else ""
    return f"it is {found[0]}x{found[1]}, but its image is {due[0]}x{due[1]}{turned}"


def _decoded(picture: Image.Image, data: bytes, wrong: list[tuple[str, str]]) -> Picture:
    damage = stream_fault(data)
    if damage is not None:
        return Picture(
            [*wrong, ("unreadable", damage.text.removesuffix(": restore it from the archive"))], None
        )
    try:
        picture.load()
        pixels = np.asarray(picture)
    except Exception as fault:  # as above
        return Picture([*wrong, ("unreadable", " ".join(str(fault).split()))], None)
    if getattr(picture, "n_frames", 1) > 1:
        return Picture([*wrong, ("mode", "it is an animation")], None)
    if picture.mode == "P":
        return Picture([*wrong, *_palette(picture), *_values(pixels)], pixels)
    if picture.mode == "L" and data[24] == 8 and pixels.max() < len(CLASSES):
        text = "mode L; `submit --masks FOLDER` packs such masks with VOC's palette"
        return Picture([*wrong, ("grey", text)], pixels)
    return Picture([*wrong, ("mode", _mode(picture.mode, data[24]))], None)


def _mode(mode: str, bits: int) -> str:
    if mode.startswith("RGB") or mode in ("LA", "PA"):
        return f"it has mode {mode}: save class indices, not colours"
    kind = f"{bits} bit{'s' * (bits > 1)} a pixel"
    return f"it has mode {mode} ({kind}): save class indices 0..{len(CLASSES) - 1} with a palette"


def _palette(picture: Image.Image) -> list[tuple[str, str]]:
    """The first colour that is not VOC's; 255 counts where the palette goes as far."""
    flat = picture.getpalette("RGB") or []
    colours = [tuple(flat[at : at + 3]) for at in range(0, len(flat), 3)]
    if len(colours) < len(CLASSES):
        text = f"it has {len(colours)} colours, fewer than there are classes: give it VOC's 256"
        return [("palette", text)]
    for index in _COLOURS:
        if index < len(colours) and colours[index] != PALETTE[index]:
            text = (
                f"index {index} is {colours[index]}, in VOC {PALETTE[index]}; are the indices VOC's classes?"
            )
            return [("palette", text)]
    return []


def _values(pixels: npt.NDArray[np.uint8]) -> list[tuple[str, str]]:
    """The values that are no class, those of void apart: leaving 255 in is a mistake of its own."""
    void = pixels == IGNORE_INDEX
    other = (pixels >= len(CLASSES)) & ~void
    found = []
    for kind, where in (("void", void), ("values", other)):
        if where.any():
            y, x = (int(k) for k in np.argwhere(where)[0])
            values = np.unique(pixels[where])
            which = f"value {pixels[y, x]} at x={x}, y={y}"
            more = f" with {len(values)} such values" if len(values) > 1 else ""
            count = int(where.sum())
            found.append((kind, f"{which}; {count:,} pixel{'s' * (count > 1)}{more}"))
    return found
