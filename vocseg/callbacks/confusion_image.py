"""Confusion matrix as an image in loggers."""

from functools import cache
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image, ImageDraw, ImageFont

from vocseg.visualization.confusion import MatrixView, matrix_view
from vocseg.visualization.draw import Bytes
from vocseg.visualization.logged_images import image_loggers, log_image, logged_step, png

_CELL, _MARGIN = 30, 10  # pixels
_INK, _PAPER, _EMPTY = (23, 33, 43), (255, 255, 255), (234, 238, 242)
_CORRECT, _WRONG = (11, 92, 173), (184, 72, 11)  # blue and orange, safe for colour blindness
_DARK = 0.75  # shade above which numbers are white
_TITLE = "rows: true classes, columns: predicted; per cent of the row, shades logarithmic"


class ConfusionMatrixImage(Callback):
    """Logs the confusion matrix of every validation as an image to TensorBoard, W&B and MLflow."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loggers = image_loggers(trainer.loggers)
        results: Any = getattr(pl_module, "results", {}).get("val")
        if trainer.sanity_checking or not trainer.is_global_zero or not loggers or results is None:
            return
        names: Any = pl_module.class_list.names  # type: ignore[union-attr]
        image = confusion_image(matrix_view(results["matrix"].numpy(), names))
        log_image(loggers, "validation/confusion", image, png(image), logged_step(trainer))


def confusion_image(view: MatrixView) -> Bytes:
    """Draw a matrix, uint8 `[H,W,3]` RGB: correct pixels blue, wrong ones orange, darker for more pixels."""
    names = [row.name for row in view.rows]
    room = max(int(_font(13).getlength(name)) for name in names) + 2 * _MARGIN
    head = room + 20
    size = room + _CELL * len(names) + _MARGIN, head + _CELL * len(names) + _MARGIN
    image = Image.new("RGB", (max(size[0], room + int(_font(13).getlength(_TITLE))), size[1]), _PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((_MARGIN, 6), _TITLE, fill=_INK, font=_font(13))
    for k, name in enumerate(names):
        middle = (k + 0.5) * _CELL
        pen.text((room - _MARGIN, head + middle), name, fill=_INK, font=_font(13), anchor="rm")
        image.paste(_upright(name, room), (int(room + middle) - _CELL // 2, 20))
    image.paste(Image.fromarray(_cells(view)), (room, head))
    for y, row in enumerate(view.rows):
        for x, cell in enumerate(row.cells):
            middle_of_cell = room + (x + 0.5) * _CELL - 1, head + (y + 0.5) * _CELL - 1
            ink = _PAPER if cell.shade > _DARK else _INK
            pen.text(middle_of_cell, cell.text, fill=ink, font=_font(12), anchor="mm")
    return np.asarray(image)


def _cells(view: MatrixView) -> Bytes:
    """Shaded cells with white lines between them, uint8 `[H,W,3]`."""
    shade = np.array([[cell.shade for cell in row.cells] for row in view.rows])[..., None]
    right = np.array([[cell.right for cell in row.cells] for row in view.rows])[..., None]
    colours = np.where(right, _CORRECT, _WRONG) * shade + np.array(_EMPTY) * (1 - shade)  # [C,C,3]
    pixels: Bytes = colours.astype(np.uint8).repeat(_CELL, 0).repeat(_CELL, 1)
    pixels[_CELL - 1 :: _CELL] = pixels[:, _CELL - 1 :: _CELL] = _PAPER
    return pixels


@cache
def _upright(name: str, length: int) -> Image.Image:
    """A class name that reads upwards and ends at the matrix."""
    strip = Image.new("RGB", (length, _CELL), _PAPER)
    place = _MARGIN // 2, _CELL // 2 - 1
    ImageDraw.Draw(strip).text(place, name, fill=_INK, font=_font(13), anchor="lm")
    return strip.transpose(Image.Transpose.ROTATE_90)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
