"""PNG images in TensorBoard."""

import io
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from vocseg.visualization.draw import Bytes


def png(pixels: Bytes) -> bytes:
    """An RGB image, uint8 `[H,W,3]`, as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)  # higher levels save 10 % in twice the time
    return stream.getvalue()


def show_png(board: TensorBoardLogger, tag: str, pixels: Bytes, packed: bytes, step: int) -> None:
    """Add an image, uint8 `[H,W,3]`, to TensorBoard as its PNG file; `add_image` would encode it again.

    Raises:
        OSError, ValueError: If it cannot be written, e.g. when the disk is full.
    """
    writer: Any = board.experiment
    if writer.file_writer is None:  # closed: `add_image` opens it again
        writer.add_image(tag, pixels, step, dataformats="HWC")
        return
    height, width, depth = pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=depth, encoded_image_string=packed)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
