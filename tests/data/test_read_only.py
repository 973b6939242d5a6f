"""Runs on read-only data sets."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import tiny
from tests.forks import after_mounting, may_mount, run


def _run(here: Path, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """A run in a mount namespace of its own, after a script."""
    places = {"HOME": str(here / "home"), "XDG_CACHE_HOME": ""}
    return run(list(words), here, after_mounting(script), **places)


@pytest.fixture
def copy(sample: Path, here: Path) -> Path:
    if not may_mount():
        pytest.skip("only root may mount a folder for reading alone")
    shutil.copytree(sample, here / "copy", ignore=shutil.ignore_patterns(".vocseg"))
    (here / "home").mkdir()
    return here / "copy"


ONE_STEP = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --image_panels.num_images 0".split()
READ_ONLY = "mount --bind {0} {0} && mount -o remount,ro,bind {0}"


@pytest.mark.slow
def test_read_only_data_set_uses_user_cache(copy: Path, here: Path) -> None:
    done = _run(here, READ_ONLY.format("copy"), "fit", *tiny(copy), *ONE_STEP)
    assert done.returncode == 0, done.stderr
    assert f"in {here / 'home/.cache/vocseg'}" in done.stdout.replace("\n", "")
    assert list((here / "home").rglob("images.bin"))
    assert not list(copy.rglob(".vocseg"))


@pytest.mark.slow
def test_read_only_cache_falls_back_to_files(copy: Path, here: Path) -> None:
    script = READ_ONLY.format("copy") + " && " + READ_ONLY.format("home")
    done = _run(here, script, "fit", *tiny(copy), *ONE_STEP)
    assert done.returncode == 0, done.stderr
    assert "the cache of 'train' cannot be written" in done.stdout
    assert "files are decoded every epoch instead" in done.stdout.replace("\n", " ")
    assert not list(here.rglob("images.bin"))
    refused = _run(here, script, "fit", *tiny(copy), *ONE_STEP, "--data.cache", "true")
    assert refused.returncode == 2
    assert "vocseg: the cache of 'train' cannot be written" in refused.stderr
