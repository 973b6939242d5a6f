"""Errors of DataLoader workers, which torch raises at any statement, and ends of processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.recording_logger import RecordingLogger
from vocseg.__main__ import main
from vocseg.data.image_io import read_image
from vocseg.errors import Stopped
from vocseg.loggers import tolerate_errors
from vocseg.visualization.logged_images import log_image, png

FAILURE = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")


def _fail(*_: Any, **__: Any) -> None:
    raise FAILURE


def test_worker_failure_within_logger_ends_run(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = RecordingLogger()
    monkeypatch.setattr(logger, "log_metrics", _fail)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        tolerate_errors(logger).log_metrics({"loss": 1.0}, 0)


def test_worker_failure_within_logged_image_ends_run(monkeypatch: pytest.MonkeyPatch) -> None:
    logger, pixels = RecordingLogger(), np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(logger, "log_image", _fail)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        log_image([logger], "a", pixels, png(pixels), 0)


def test_worker_failure_within_decoder_is_no_damaged_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", _fail)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        read_image(tmp_path / "a.png")


def test_process_other_than_main_exits_at_once_when_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise Stopped("stopped by SIGTERM", 143)

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("vocseg.__main__.dispatch", stop)
    monkeypatch.setattr("vocseg.__main__._DELAY", 1e9)
    with pytest.raises(SystemExit) as end:
        main(["fit"])
    assert end.value.code == 143
    assert not capsys.readouterr().err
