"""Palette PNG from arrays of classes."""

import io
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from vocseg.visualization.draw import Bytes


def png(picture: Bytes) -> bytes:
    """A picture as a PNG file; packing harder takes more than twice the time, and saves a tenth.

    Args:
        picture: uint8 `[H,W,3]` RGB.
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def show_png(board: TensorBoardLogger, tag: str, picture: Bytes, packed: bytes, step: int) -> None:
    """Put a picture into TensorBoard as it is packed: `add_image` would resize it and pack it anew, harder.

    Args:
        board: Where to.
        tag: Its name there.
        picture: uint8 `[H,W,3]` RGB.
        packed: The same as a PNG file.
        step: Of the optimiser.

    Raises:
        OSError: If it cannot be written.
        ValueError: How TensorBoard's writer words a full disk.
    """
    writer: Any = board.experiment
    if writer.file_writer is None:  # it was closed; whatever is added plainly opens it again
        writer.add_image(tag, picture, step, dataformats="HWC")
        return
    height, width, depth = picture.shape
    image = Summary.Image(height=height, width=width, colorspace=depth, encoded_image_string=packed)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
