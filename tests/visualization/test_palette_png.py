"""PNG images in TensorBoard."""

import io
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vocseg.visualization.palette_png import png, show_png

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_png_round_trip_is_exact() -> None:
    with Image.open(io.BytesIO(png(PICTURE))) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), PICTURE)


@pytest.mark.parametrize("closed", [False, True])
def test_tensorboard_image_is_unchanged(tmp_path: Path, closed: bool) -> None:
    board = TensorBoardLogger(tmp_path)
    if closed:
        board.experiment.close()
    show_png(board, "a/picture", PICTURE, png(PICTURE), 7)
    board.experiment.close()
    events = EventAccumulator(board.log_dir).Reload()
    (event,) = events.Images("a/picture")
    assert (event.step, event.width, event.height) == (7, 30, 20)
    with Image.open(io.BytesIO(event.encoded_image_string)) as picture:
        assert np.array_equal(np.asarray(picture), PICTURE)
    assert closed or event.encoded_image_string == png(PICTURE)  # it was not packed anew
