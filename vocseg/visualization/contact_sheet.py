"""Contact sheets."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from vocseg.constants import IGNORE_INDEX
from vocseg.data.classes import VOC_CLASSES, ClassList
from vocseg.visualization.draw import Bytes, font, legend, overlay

_INK, _FAINT, _PAPER, _BAND = (30, 30, 30), (110, 110, 110), 255, 225  # a band lies behind titles
_LINE, _GAP = 22, 6  # pixels: height of a line of text, and between pictures
_TINT = 0.4  # weaker than an overlay's: colours are among the things to be judged


class Tile(NamedTuple):
    """One picture: RGB uint8 `[H,W,3]`, its mask uint8 `[H,W]`, and what stands below it."""

    image: Bytes
    mask: Bytes
    caption: str


class Section(NamedTuple):
    """Rows of pictures under a title, all of one length."""

    title: str
    rows: Sequence[Sequence[Tile]]


def tinted(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A picture `[H,W,3]` with the objects of its mask `[H,W]` tinted and outlined, and void in its cream."""
    picture = overlay(image, mask, classes, _TINT)
    void, cream = mask == IGNORE_INDEX, np.array(classes.palette[IGNORE_INDEX])
    picture[void] = (image[void] * (1 - _TINT) + cream * _TINT).astype(np.uint8)
    return picture


def contact_sheet(blocks: Sequence[Section], cell: int, classes: ClassList = VOC_CLASSES) -> Bytes:
    """All blocks below each other, with a legend of the classes that occur.

    Args:
        blocks: What to show.
        cell: Edge in pixels of the square into which each picture is fitted.
        classes: Names and colours.

    Returns:
        RGB uint8; as wide as the longest row.
    """
    rows = [row for block in blocks for row in block.rows]
    width = max(len(row) for row in rows) * (cell + _GAP) + _GAP
    labels = {int(label) for row in rows for shot in row for label in np.unique(shot.mask)}
    parts = [part for block in blocks for part in _block(block, cell, width, classes)]
    return np.vstack([*parts, legend(sorted(labels - {0}), width, classes)])


def _block(block: Section, cell: int, width: int, classes: ClassList) -> list[Bytes]:
    title = _padded(_text(block.title, width - 2 * _GAP, _INK), width)
    lines = [np.minimum(title, _BAND), _paper(_GAP, width)]
    for row in block.rows:
        pictures = [_framed(tinted(shot.image, shot.mask, classes), cell) for shot in row]
        captions = [np.hstack([_text(shot.caption, cell, _FAINT), _paper(_LINE, _GAP)]) for shot in row]
        lines += [_padded(np.hstack(pictures), width), _padded(np.hstack(captions), width)]
    return lines


def _framed(picture: Bytes, cell: int) -> Bytes:
    """Fitted into a square of paper in its own proportions, with the gap at its right; enlarged as it is."""
    height, width = picture.shape[:2]
    scale = cell / max(height, width)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST_EXACT
    frame = _paper(cell, cell + _GAP)
    y, x = (cell - shape[0]) // 2, (cell - shape[1]) // 2
    frame[y : y + shape[0], x : x + shape[1]] = cv2.resize(picture, shape[::-1], interpolation=way)
    return frame


def _text(text: str, room: int, ink: tuple[int, int, int]) -> Bytes:
    """One line `[_LINE,room,3]`, its end left out where it is too long."""
    line = Image.new("RGB", (room, _LINE), (_PAPER,) * 3)
    pen = ImageDraw.Draw(line)
    short = text
    while short and pen.textlength(short, font=font()) > room:
        short = short.removesuffix("...")[:-1] + "..." if short != "..." else ""
    pen.text((0, 2), short, fill=ink, font=font())
    return np.asarray(line)


def _padded(strip: Bytes, width: int) -> Bytes:
    """A strip with the gap at its left, and paper to its right; or as much of it as there is room for."""
    sheet = _paper(len(strip), width)
    strip = strip[:, : width - _GAP]
    sheet[:, _GAP : _GAP + strip.shape[1]] = strip
    return sheet


def _paper(height: int, width: int) -> Bytes:
    return np.full((height, width, 3), _PAPER, np.uint8)
