"""Overlays, error maps and image panels."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vocseg.constants import IGNORE_INDEX
from vocseg.data.classes import VOC_CLASSES, ClassList

Bytes = npt.NDArray[np.uint8]

ERRORS = {"missed": (255, 255, 255), "invented": (255, 210, 0), "confused": (255, 80, 170)}

_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def colour(mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A mask `[H,W]` in the classes' colours, RGB `[H,W,3]`; 255 is the palette's cream."""
    coloured: Bytes = np.array(classes.palette, np.uint8)[mask]
    return coloured


def overlay(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES, strength: float = 0.6) -> Bytes:
    """An image `[H,W,3]` with the objects of a mask `[H,W]` tinted and outlined."""
    tinted = image.astype(np.float32)
    objects = (mask != 0) & (mask != IGNORE_INDEX)
    tinted[objects] = (1 - strength) * tinted[objects] + strength * colour(mask, classes)[objects]
    outline = np.zeros(mask.shape, bool)
    outline[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    outline[:-1] |= mask[:-1] != mask[1:]
    tinted[outline & (mask != IGNORE_INDEX)] = 255
    return tinted.astype(np.uint8)


def labelled_overlay(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """`overlay` with a legend of the classes below it."""
    below = legend(sorted({*np.unique(mask)} - {0, IGNORE_INDEX}), image.shape[1], classes)
    return np.vstack([overlay(image, mask, classes), below])


def error_map(image: Bytes, truth: Bytes, prediction: Bytes) -> Bytes:
    """Wrong pixels in the colours of `ERRORS` on the dimmed grey image, RGB `[H,W,3]`.

    White: object predicted as background. Yellow: background predicted as object. Pink: object predicted as
    another class. Ignored pixels (255) are cream.
    """
    picture: Bytes = np.repeat(image.mean(2, keepdims=True) / 4, 3, axis=2).astype(np.uint8)
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    picture[wrong] = ERRORS["confused"]
    picture[wrong & (truth == 0)] = ERRORS["invented"]
    picture[wrong & (prediction == 0)] = ERRORS["missed"]
    picture[truth == IGNORE_INDEX] = np.array(VOC_CLASSES.palette[IGNORE_INDEX]) // 2
    return picture


def panel(
    image: Bytes, truth: Bytes, prediction: Bytes, classes: ClassList = VOC_CLASSES, cell: int = 256
) -> Bytes:
    """Input, ground truth, prediction and errors side by side, with a legend of the classes.

    Args:
        image: uint8 `[H,W,3]` RGB.
        truth: uint8 `[H,W]`, 255 ignored.
        prediction: uint8 `[H,W]`.
        classes: Names and colours.
        cell: Side length of each image in pixels.
    """
    masks = colour(truth, classes), colour(prediction, classes)
    images = (image, *masks, error_map(image, truth, prediction))
    row = np.hstack([cv2.resize(k, (cell, cell), interpolation=cv2.INTER_NEAREST_EXACT) for k in images])
    for k in range(1, len(images)):
        row[:, k * cell - 1 : k * cell + 1] = _PAPER
    below = legend(sorted({*np.unique(truth), *np.unique(prediction)} - {0}), 4 * cell, classes)
    return np.vstack([row, below])


def sheet(panels: Sequence[Bytes]) -> Bytes:
    """Panels below each other, with a line of titles."""
    width = panels[0].shape[1]
    head = Image.new("RGB", (width, 24), _PAPER)
    pen = ImageDraw.Draw(head)
    for k, title in enumerate(("input", "ground truth", "prediction")):
        pen.text((k * width // 4 + 6, 4), title, fill=_INK, font=font())
    x = 3 * width // 4 + 3
    for name, shade in ERRORS.items():
        x = _chip(pen, x, 4, name, shade)
    return np.vstack([np.asarray(head), *panels])


def _chip(pen: ImageDraw.ImageDraw, x: int, y: int, name: str, shade: tuple[int, int, int]) -> int:
    """Draw a colour with its name; return the position of the next."""
    pen.rectangle((x, y, x + 16, y + 14), fill=shade, outline=_INK)
    pen.text((x + 22, y - 1), name, fill=_INK, font=font())
    return x + _chip_width(pen, name)


def _chip_width(pen: ImageDraw.ImageDraw, name: str) -> int:
    return 24 + int(pen.textlength(name, font=font())) + 6


def legend(labels: Sequence[int], width: int, classes: ClassList) -> Bytes:
    """Colours and names of classes, wrapped into lines of the given width."""
    strip = Image.new("RGB", (width, 24 * (1 + len(labels))), _PAPER)
    pen = ImageDraw.Draw(strip)
    x, y = 6, 4
    for label in labels:
        name = "ignored" if label == IGNORE_INDEX else classes.names[label]
        if x > 6 and x + _chip_width(pen, name) > width:
            x, y = 6, y + 24
        x = _chip(pen, x, y, name, classes.palette[label])
    return np.asarray(strip)[: y + 20]


@cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of text in images."""
    return ImageFont.load_default(size=14)
