"""PNG images in loggers."""

import io
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.recording_logger import RecordingLogger, RecordingMLFlowLogger, UnreachableLogger
from vocseg.visualization.logged_images import image_loggers, log_image, png

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.mark.parametrize("closed", [False, True])
def test_tensorboard_image_is_unchanged(tmp_path: Path, closed: bool) -> None:
    board = TensorBoardLogger(tmp_path)
    if closed:
        board.experiment.close()
    log_image([board], "a/picture", PICTURE, png(PICTURE), 7)
    board.experiment.close()
    events = EventAccumulator(board.log_dir).Reload()
    (event,) = events.Images("a/picture")
    assert (event.step, event.width, event.height) == (7, 30, 20)
    with Image.open(io.BytesIO(event.encoded_image_string)) as picture:
        assert np.array_equal(np.asarray(picture), PICTURE)
    assert closed or event.encoded_image_string == png(PICTURE)  # it was not packed anew


def test_mlflow_gets_key_and_step() -> None:
    logger = RecordingMLFlowLogger()
    log_image([logger], "a/picture", PICTURE, png(PICTURE), 7)
    (((run, picture), named),) = logger.sent
    assert (run, named) == ("run", {"key": "a/picture", "step": 7})
    assert np.array_equal(picture, PICTURE)


def test_logger_error_is_a_warning_and_others_get_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, other = UnreachableLogger(), RecordingLogger()
    monkeypatch.setattr(lost, "log_image", lambda **_: lost.experiment)
    loggers = image_loggers([CSVLogger(tmp_path), lost, other])
    assert loggers == [lost, other]
    with pytest.warns(UserWarning, match="vocseg: UnreachableLogger cannot log images"):
        log_image(loggers, "a/picture", PICTURE, png(PICTURE), 7)
    ((step, picture),) = other.images["a/picture"]
    assert step == 7
    assert np.array_equal(np.asarray(picture), PICTURE)
