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

ERRORS = {"false negative": (255, 255, 255), "false positive": (255, 210, 0), "wrong class": (255, 80, 170)}

_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_VISIBLE = 0.001  # smallest share of an image's pixels at which a class is named
_LINE = 24  # pixels, height of a line of text in panels


def colour(mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A mask `[H,W]` in the classes' colours, RGB `[H,W,3]`; 255 is the palette's cream."""
    coloured: Bytes = np.array(classes.palette, np.uint8)[mask]
    return coloured


def overlay(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES, strength: float = 0.6) -> Bytes:
    """An image `[H,W,3]` with the objects of a mask `[H,W]` tinted and outlined.

    The outline is one pixel wide for each 500 pixels of the longer side.
    """
    drawn, levels = np.ascontiguousarray(image).copy(), np.arange(256, dtype=np.float32)[:, None]
    for label in _areas(mask):
        # A look-up table for each class takes an eighth of the time of the same arithmetic by pixel.
        tint = strength * np.array(classes.palette[label], np.uint8)
        table = ((1 - strength) * levels + tint).astype(np.float32).astype(np.uint8)  # [256,3]
        cv2.copyTo(cv2.LUT(image, table[None]), cv2.inRange(mask, label, label), drawn)
    outline = np.zeros(mask.shape, bool)
    outline[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    outline[:-1] |= mask[:-1] != mask[1:]
    width = round(max(mask.shape) / 500)
    if width > 1:
        outline = cv2.dilate(outline.astype(np.uint8), np.ones((width, width), np.uint8)).astype(bool)
    drawn[outline & (mask != IGNORE_INDEX)] = 255
    return drawn


def labelled_overlay(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """`overlay` with the class's name at its largest region; the size is the image's.

    Classes of less than a thousandth of the image are not named.
    """
    canvas = Image.fromarray(overlay(image, mask, classes))
    pen, size = ImageDraw.Draw(canvas), max(11, round(max(mask.shape) / 32))
    for label, area in _areas(mask).items():
        if area < _VISIBLE * mask.size:
            continue
        _, _, regions, centres = cv2.connectedComponentsWithStats(cv2.inRange(mask, label, label))
        x, y = centres[1 + int(regions[1:, cv2.CC_STAT_AREA].argmax())]
        name, shade = classes.names[label], classes.palette[label]
        left, top, right, bottom = pen.textbbox((0, 0), name, font=font(size))
        border = size // 4
        width, height = right - left + 2 * border, bottom - top + 2 * border
        x = min(max(0, x - width / 2), max(0, image.shape[1] - width))  # inside the image
        y = min(max(0, y - height / 2), max(0, image.shape[0] - height))
        pen.rectangle((x, y, x + width, y + height), fill=shade)
        ink = _INK if np.dot(shade, (0.299, 0.587, 0.114)) > 140 else _PAPER
        pen.text((x + border - left, y + border - top), name, fill=ink, font=font(size))
    return np.asarray(canvas)


def _areas(mask: Bytes) -> dict[int, int]:
    """Pixels of each class in a mask, without background and ignored pixels."""
    counts = enumerate(np.bincount(mask.ravel(), minlength=256).tolist())
    return {label: count for label, count in counts if count and label not in (0, IGNORE_INDEX)}


def error_map(image: Bytes, truth: Bytes, prediction: Bytes) -> Bytes:
    """Wrong pixels in the colours of `ERRORS` on the dimmed grey image, RGB `[H,W,3]`.

    White: object predicted as background. Yellow: background predicted as object. Pink: object predicted as
    another class. Ignored pixels (255) are cream.
    """
    errors: Bytes = np.repeat(image.mean(2, keepdims=True) / 4, 3, axis=2).astype(np.uint8)
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    errors[wrong] = ERRORS["wrong class"]
    errors[wrong & (truth == 0)] = ERRORS["false positive"]
    errors[wrong & (prediction == 0)] = ERRORS["false negative"]
    errors[truth == IGNORE_INDEX] = np.array(VOC_CLASSES.palette[IGNORE_INDEX]) // 2
    return errors


def panel(
    image: Bytes,
    truth: Bytes,
    prediction: Bytes,
    classes: ClassList = VOC_CLASSES,
    cell: int = 256,
    title: str = "",
) -> Bytes:
    """Input, ground truth, prediction and errors side by side, with a title and a legend of the classes.

    The images have the proportions of `image`. The legend lists the classes by area.

    Args:
        image: uint8 `[H,W,3]` RGB, in the original proportions.
        truth: uint8 `[h,w]`, 255 ignored.
        prediction: uint8 `[h,w]`.
        classes: Names and colours.
        cell: Length of each image's longer side in pixels.
        title: Line above the images.
    """
    scale = cell / max(image.shape[:2])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown: Bytes = cv2.resize(image, (width, height), interpolation=method).astype(np.uint8)
    masks: list[Bytes] = [
        np.asarray(
            Image.fromarray(each.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST), np.uint8
        )
        for each in (truth, prediction)
    ]
    row = np.full((height, 4 * cell, 3), _PAPER, np.uint8)
    images = (shown, *(colour(each, classes) for each in masks), error_map(shown, masks[0], masks[1]))
    for k, each in enumerate(images):
        left = k * cell + (cell - width) // 2
        row[:, left : left + width] = each
    for k in range(1, len(images)):
        row[:, k * cell - 1 : k * cell + 1] = _PAPER
    areas = np.bincount(truth.ravel(), minlength=256) + np.bincount(prediction.ravel(), minlength=256)
    visible = [label for label in np.argsort(-areas, kind="stable") if areas[label] > _VISIBLE * truth.size]
    below = legend([int(label) for label in visible if label], 4 * cell, classes)
    return np.vstack([*([_title(title, 4 * cell)] if title else []), row, below])


def _title(text: str, width: int) -> Bytes:
    line = Image.new("RGB", (width, _LINE), _PAPER)
    ImageDraw.Draw(line).text((6, 4), text, fill=_INK, font=font())
    return np.asarray(line)


def sheet(panels: Sequence[Bytes]) -> Bytes:
    """Panels below each other, with a line of titles."""
    width = panels[0].shape[1]
    head = Image.new("RGB", (width, _LINE), _PAPER)
    pen = ImageDraw.Draw(head)
    for k, title in enumerate(("input", "ground truth", "prediction")):
        pen.text((k * width // 4 + 6, 4), title, fill=_INK, font=font())
    x = width - sum(_chip_width(pen, name) for name in ERRORS)
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
    strip = Image.new("RGB", (width, _LINE * (1 + len(labels))), _PAPER)
    pen = ImageDraw.Draw(strip)
    x, y = 6, 4
    for label in labels:
        name = "ignored" if label == IGNORE_INDEX else classes.names[label]
        if x > 6 and x + _chip_width(pen, name) > width:
            x, y = 6, y + _LINE
        x = _chip(pen, x, y, name, classes.palette[label])
    return np.asarray(strip)[: y + 20]


@cache
def font(size: int = 14) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of text in images; `size`: its height in pixels."""
    return ImageFont.load_default(size=size)
