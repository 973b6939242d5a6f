"""Run folders."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.checkpoints.run_dir import create_run_dir, drop_unused_folder, newest_checkpoint, newest_weights
from vocseg.checkpoints.weights import read_weights
from vocseg.models.module import SegmentationModule


def test_concurrent_runs_get_separate_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: create_run_dir(tmp_path, "fit"), range(40)))
    assert sorted(int(folder.name[8:]) for folder in folders) == list(range(40))


def test_newest_weights_are_found_by_time(tmp_path: Path) -> None:
    assert newest_weights(tmp_path) is None
    for age, verb in enumerate(("finetune", "fit", "fit")):
        path = create_run_dir(tmp_path, verb) / "unet_voc.pth"
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert newest_weights(tmp_path) == tmp_path / "lightning_logs/finetune/version_0/unet_voc.pth"


def test_run_directory_is_removed_only_without_results(tmp_path: Path) -> None:
    begun, unused = create_run_dir(tmp_path, "fit"), create_run_dir(tmp_path, "fit")
    (begun / "config.yaml").touch()
    (unused / "events.out.tfevents.1").touch()
    for folder in (begun, unused):
        drop_unused_folder(folder)
    assert begun.exists()
    assert not unused.exists()
    masks = create_run_dir(tmp_path, "predict") / "masks"
    masks.mkdir()
    (masks / "a.png").touch()
    drop_unused_folder(masks.parent)  # a fault after some were written
    assert (masks / "a.png").exists()
    drop_unused_folder(create_run_dir(tmp_path / "other", "fit"))
    assert not (tmp_path / "other" / "lightning_logs").exists()


def test_newest_run_is_found_by_last_checkpoint(tmp_path: Path) -> None:
    for k, (run, name) in enumerate(
        [("fit/version_0", "best"), ("fit/version_1", "best"), ("finetune/version_0", "last")]
    ):
        path = tmp_path / "lightning_logs" / run / f"{name}.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (k, k))
    old = tmp_path / "lightning_logs/fit/version_0/last.ckpt"
    old.touch()
    os.utime(old, (9, 9))
    assert newest_checkpoint(tmp_path, "best") == old.with_name("best.ckpt")
    assert newest_checkpoint(tmp_path, "last") == old
    old.unlink()
    assert newest_checkpoint(tmp_path, "last").parts[-3:] == ("finetune", "version_0", "last.ckpt")
    assert newest_checkpoint(tmp_path, "best").parts[-2:] == ("version_1", "best.ckpt")


def test_renamed_run_directory_raises_and_run_can_be_resumed(
    sample: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, moved = here / "lightning_logs/fit/version_0", here / "elsewhere/version_0"
    step = SegmentationModule.training_step

    def rename(module: Any, batch: Any, k: int) -> Any:
        if module.current_epoch == 1 and run.exists():
            moved.parent.mkdir()
            run.rename(moved)
        return step(module, batch, k)

    monkeypatch.setattr(SegmentationModule, "training_step", rename)
    said = refused(capsys, ["fit", *tiny(sample), "--trainer.max_epochs", "3"])
    assert "version_0 is missing: it was renamed or removed during the run" in said
    assert not run.exists()
    assert read_weights(moved / "unet_voc.pth").state_dict
    monkeypatch.undo()
    monkeypatch.chdir(here)
    main(["resume", str(moved)])
    assert torch.load(moved / "last.ckpt", weights_only=False)["epoch"] == 3
