"""A small sample, drawn once and copied for every test that damages it."""

import shutil
from pathlib import Path

import pytest

from vocseg.data.synthetic import write_sample


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `VOC2012` folder of a sample of 6 train and 4 val images; not to be changed."""
    return write_sample(tmp_path_factory.mktemp("clean"), train=6, val=4, seed=3, progress=False)


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    """The `VOC2012` folder of a copy that a test may damage."""
    return Path(shutil.copytree(clean, tmp_path / "VOCdevkit" / "VOC2012"))
