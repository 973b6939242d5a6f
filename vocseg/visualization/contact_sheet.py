"""Contact sheets of images with masks."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from vocseg.constants import IGNORE_INDEX
from vocseg.data.classes import VOC_CLASSES, ClassList
from vocseg.visualization.draw import Bytes, font, legend, overlay

_INK, _FAINT, _PAPER, _BAND = (30, 30, 30), (110, 110, 110), 255, 225  # _BAND: background of titles
_LINE, _GAP, _SIZE = 26, 6, 18  # pixels: height of a line of text, gap between images, size of letters
_TINT = 0.4  # weaker than an overlay's, as augmentation changes colours


class Tile(NamedTuple):
    """RGB image uint8 `[H,W,3]`, mask uint8 `[H,W]` and caption."""

    image: Bytes
    mask: Bytes
    caption: str


class Section(NamedTuple):
    """Rows of tiles of equal length under a title."""

    title: str
    rows: Sequence[Sequence[Tile]]


def tinted(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """An image `[H,W,3]` with tinted objects; ignored pixels (255) are cream."""
    tinted = overlay(image, mask, classes, _TINT)
    void, cream = mask == IGNORE_INDEX, np.array(classes.palette[IGNORE_INDEX])
    tinted[void] = (image[void] * (1 - _TINT) + cream * _TINT).astype(np.uint8)
    return tinted


def contact_sheet(sections: Sequence[Section], cell: int, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A legend of the classes, then all sections: RGB uint8; `cell`: side length of an image in pixels."""
    rows = [row for section in sections for row in section.rows]
    width = max(len(row) for row in rows) * (cell + _GAP) + _GAP
    labels = {int(label) for row in rows for tile in row for label in np.unique(tile.mask)}
    parts = [legend(sorted(labels - {0}), width, classes), _paper(_GAP, width)]
    for section in sections:
        title = _padded(_text(section.title, width - 2 * _GAP, _INK), width)
        parts += [np.minimum(title, _BAND), _paper(_GAP, width)]
        for row in section.rows:
            images = [_framed(tinted(tile.image, tile.mask, classes), cell) for tile in row]
            captions = [np.hstack([_text(tile.caption, cell, _FAINT), _paper(_LINE, _GAP)]) for tile in row]
            parts += [_padded(np.hstack(images), width), _padded(np.hstack(captions), width)]
    return np.vstack(parts)


def _framed(image: Bytes, cell: int) -> Bytes:
    """An image fitted into a square of paper at its aspect ratio, with the gap at its right."""
    height, width = image.shape[:2]
    scale = cell / max(height, width)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST_EXACT
    frame = _paper(cell, cell + _GAP)
    y, x = (cell - shape[0]) // 2, (cell - shape[1]) // 2
    frame[y : y + shape[0], x : x + shape[1]] = cv2.resize(image, shape[::-1], interpolation=method)
    return frame


def _text(text: str, width: int, ink: tuple[int, int, int]) -> Bytes:
    """A line of text `[_LINE,width,3]`, shortened to fit."""
    line = Image.new("RGB", (width, _LINE), (_PAPER,) * 3)
    pen = ImageDraw.Draw(line)
    short = text
    while short and pen.textlength(short, font=font(_SIZE)) > width:
        short = short.removesuffix("...")[:-1] + "..." if short != "..." else ""
    pen.text((0, 2), short, fill=ink, font=font(_SIZE))
    return np.asarray(line)


def _padded(strip: Bytes, width: int) -> Bytes:
    """A strip with the gap at its left, cropped or padded to the width."""
    sheet = _paper(len(strip), width)
    strip = strip[:, : width - _GAP]
    sheet[:, _GAP : _GAP + strip.shape[1]] = strip
    return sheet


def _paper(height: int, width: int) -> Bytes:
    return np.full((height, width, 3), _PAPER, np.uint8)
