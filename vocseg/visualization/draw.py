"""Overlays, error maps and panels."""

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
    """Class indices `[H,W]` in their colours, RGB `[H,W,3]`; void is the palette's cream."""
    coloured: Bytes = np.array(classes.palette, np.uint8)[mask]
    return coloured


def overlay(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES, strength: float = 0.6) -> Bytes:
    """A photograph `[H,W,3]` with the objects of a mask `[H,W]` tinted and outlined."""
    tinted = image.astype(np.float32)
    objects = (mask != 0) & (mask != IGNORE_INDEX)
    tinted[objects] = (1 - strength) * tinted[objects] + strength * colour(mask, classes)[objects]
    tinted[_outline(mask) & (mask != IGNORE_INDEX)] = 255
    return tinted.astype(np.uint8)


def labelled_overlay(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """`overlay` with a legend of the classes below it."""
    below = legend(sorted({*np.unique(mask)} - {0, IGNORE_INDEX}), image.shape[1], classes)
    return np.vstack([overlay(image, mask, classes), below])


def _outline(mask: Bytes) -> npt.NDArray[np.bool_]:
    """Pixels whose neighbour to the right or below has another class."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    return edge


def error_map(image: Bytes, truth: Bytes, prediction: Bytes) -> Bytes:
    """Where a prediction is wrong, and how: bright on the dim grey photograph of what is right.

    White: an object missed; yellow: one invented on background; pink: one taken for another. Void is cream.
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
    """Input, ground truth, prediction and errors side by side, with a legend of the classes present.

    Args:
        image: uint8 `[H,W,3]` RGB.
        truth: uint8 `[H,W]`, 255 = void.
        prediction: uint8 `[H,W]`.
        classes: Their names and colours.
        cell: Edge of each picture in pixels.

    Returns:
        uint8 RGB, `4 * cell` wide.
    """
    pictures = (
        image,
        colour(truth, classes),
        colour(prediction, classes),
        error_map(image, truth, prediction),
    )
    scaled = [
        cv2.resize(picture, (cell, cell), interpolation=cv2.INTER_NEAREST_EXACT) for picture in pictures
    ]
    below = legend(sorted({*np.unique(truth), *np.unique(prediction)} - {0}), 4 * cell, classes)
    row = np.hstack(scaled)
    for k in range(1, len(scaled)):
        row[:, k * cell - 1 : k * cell + 1] = _PAPER
    return np.vstack([row, below])


def sheet(panels: Sequence[Bytes]) -> Bytes:
    """Panels below each other under one line of titles."""
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
    """A colour with its name; gives the place for the next."""
    pen.rectangle((x, y, x + 16, y + 14), fill=shade, outline=_INK)
    pen.text((x + 22, y - 1), name, fill=_INK, font=font())
    return x + _chip_width(pen, name)


def _chip_width(pen: ImageDraw.ImageDraw, name: str) -> int:
    return 24 + int(pen.textlength(name, font=font())) + 6


def legend(labels: Sequence[int], width: int, classes: ClassList) -> Bytes:
    """The classes' colours with their names, wrapped into lines of the given width."""
    strip = Image.new("RGB", (width, 24 * (1 + len(labels))), _PAPER)
    pen = ImageDraw.Draw(strip)
    x, y = 6, 4
    for label in labels:
        name = "void" if label == IGNORE_INDEX else classes.names[label]
        if x > 6 and x + _chip_width(pen, name) > width:
            x, y = 6, y + 24
        x = _chip(pen, x, y, name, classes.palette[label])
    return np.asarray(strip)[: y + 20]


@cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """What text in pictures is written in."""
    return ImageFont.load_default(size=14)
