"""Files that become unreadable during a run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused, tiny
from tests.data.conftest import voc_folder
from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]
Monkey = pytest.MonkeyPatch

SHORT = ["--trainer.num_sanity_val_steps", "0", "--image_panels.num_images", "0", "--data.batch_size", "10"]
NO_STORE = ["--data.cache", "false"]


@pytest.fixture
def copy(sample: Path, here: Path) -> Path:
    """A set of one's own to damage."""
    shutil.copytree(sample, here / "copy", ignore=shutil.ignore_patterns(".vocseg"))
    return here / "copy"


def _file(root: Path, split: str, position: int, kind: str = "image") -> Path:
    folder = voc_folder(root)
    id = voc.split_ids(folder, split)[position]
    return voc.image_path(folder, id) if kind == "image" else voc.mask_path(folder, id, split)


def _in_step(monkeypatch: Monkey, name: str, act: Callable[[], object]) -> None:
    """Do something in the first training or validation step."""
    plain, done = getattr(SegmentationModule, name), []

    def step(module: SegmentationModule, batch: Any, batch_idx: int) -> Any:
        if not done:
            done.append(act())
        return plain(module, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, name, step)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _redraw(path: Path) -> None:
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (Path.unlink, "is missing"),
    "truncated": (_truncate, "cannot be read"),
    "changed": (_redraw, "has changed since the run started"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt_file_in_training_raises(
    copy: Path, capsys: Capture, monkeypatch: Monkey, damage: str
) -> None:
    act, words = DAMAGE[damage]
    path = _file(copy, "train", 3)
    _in_step(monkeypatch, "training_step", lambda: act(path))
    workers = ["--data.num_workers", "1"] if damage == "truncated" else []
    words_typed = ["fit", *tiny(copy), *SHORT, *NO_STORE, "--trainer.max_epochs", "3", *workers]
    said = refused(capsys, words_typed)
    assert "2007_000004.jpg" in said
    assert words in said
    assert said.count("vocseg: ") == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_skip_continues_training_and_reports(
    copy: Path, here: Path, capsys: Capture, monkeypatch: Monkey, workers: str
) -> None:
    """Both kinds of processes must give the same weights: what is left out counts nowhere on either."""
    path = _file(copy, "train", 3)
    _in_step(monkeypatch, "training_step", lambda: _truncate(path))
    flags = ["--data.on_read_error", "skip", "--data.num_workers", workers, "--trainer.max_epochs", "3"]
    with pytest.warns(UserWarning, match="vocseg: 2007_000004 is left out: the image .* cannot be read"):
        main(["fit", *tiny(copy), *SHORT, *NO_STORE, *flags])
    said = capsys.readouterr().out
    assert "1 image was skipped and not counted:\n  2007_000004 (train): the image " in said
    run = here / "lightning_logs/fit/version_0"
    assert list(json.loads((run / "skipped_samples.json").read_text())["train"]) == ["2007_000004"]
    assert (run / "unet_voc.pth").is_file()


def test_skip_score_reports_number_of_images(
    copy: Path, trained: Path, here: Path, capsys: Capture, monkeypatch: Monkey
) -> None:
    path = _file(copy, "val", 5)
    _in_step(monkeypatch, "test_step", lambda: _truncate(path))
    words = ["test", "--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(copy), *NO_STORE]
    words += ["--trainer.accelerator", "cpu", "--data.batch_size", "1", "--data.on_read_error", "skip"]
    with pytest.warns(UserWarning, match="is left out"):
        main(words)
    said = capsys.readouterr().out
    assert "test: val, 6 images" in said
    run = here / "lightning_logs/test/version_0"
    scores = json.loads((run / "scores.json").read_text())
    counts = {score["protocol"]["images"] for name, score in scores.items() if name != "weights"}
    assert counts == {6}
    for name in ("network", "original"):
        assert path.stem not in load_per_image_confusion(run / f"per_image_confusion_{name}.npz").ids
    assert list(json.loads((run / "skipped_samples.json").read_text())["val"]) == [path.stem]


def test_skip_corrupt_file_trains_without_cache(copy: Path, capsys: Capture) -> None:
    _truncate(_file(copy, "train", 3))
    with pytest.warns(UserWarning, match="2007_000004 is left out"):
        main(["fit", *tiny(copy), *SHORT, "--data.on_read_error", "skip"])
    said = capsys.readouterr().out
    assert "files are decoded every epoch instead (--data.on_read_error skip)" in said
    assert "1 image was skipped and not counted" in said


def test_skip_of_too_many_images_raises(copy: Path, capsys: Capture, monkeypatch: Monkey) -> None:
    _in_step(monkeypatch, "training_step", lambda: shutil.rmtree(_file(copy, "train", 0).parent))
    flags = ["--data.on_read_error", "skip", "--trainer.max_epochs", "2"]
    with pytest.warns(UserWarning, match="left out"):
        said = refused(capsys, ["fit", *tiny(copy), *SHORT, *NO_STORE, *flags])
    assert "3 of the 20 images of 'train' cannot be read, too many for --data.on_read_error skip" in said
