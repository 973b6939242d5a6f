"""PNG images in TensorBoard, W&B and MLflow."""

import io
import warnings
from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from vocseg.errors import raise_worker_failure
from vocseg.visualization.draw import Bytes


def png(pixels: Bytes) -> bytes:
    """An RGB image, uint8 `[H,W,3]`, as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)  # higher levels save 10 % in twice the time
    return stream.getvalue()


def logged_step(trainer: Trainer) -> int:
    """The step at which Lightning logs the scores of a validation: the last that was trained, from 0."""
    return max(trainer.global_step - 1, 0)


def image_loggers(loggers: Iterable[Any]) -> list[Any]:
    """The loggers that take images: TensorBoard, MLflow, and those with `log_image`, as W&B has it."""
    kinds = (TensorBoardLogger, MLFlowLogger)
    return [each for each in loggers if isinstance(each, kinds) or hasattr(each, "log_image")]


def log_image(loggers: Iterable[Any], tag: str, pixels: Bytes, packed: bytes, step: int) -> None:
    """Log an image, uint8 `[H,W,3]` RGB and as a PNG file, to loggers of `image_loggers`.

    Slashes in the tag make groups. An error of a logger (full disk, lost server) is a warning.
    """
    for logger in loggers:
        try:
            if isinstance(logger, TensorBoardLogger):
                _show_png(logger, tag, pixels, packed, step)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_image(logger.run_id, pixels, key=tag, step=step)
            else:
                logger.log_image(key=tag, images=[Image.fromarray(pixels)], step=step)
        except Exception as error:  # TensorBoard's writer raises an empty ValueError for a full disk
            raise_worker_failure(error)
            why = " ".join(str(error).split()) or type(error).__name__
            warnings.warn(f"vocseg: {type(logger).__name__} cannot log images ({why[:200]}).", stacklevel=2)


def _show_png(board: TensorBoardLogger, tag: str, pixels: Bytes, packed: bytes, step: int) -> None:
    """Add the PNG file; `add_image` would encode the image again."""
    writer: Any = board.experiment
    if writer.file_writer is None:  # closed: `add_image` opens it again
        writer.add_image(tag, pixels, step, dataformats="HWC")
        return
    height, width, depth = pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=depth, encoded_image_string=packed)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
