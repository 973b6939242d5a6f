"""Data modules that are ready to read, and data sets that a test may damage."""

import shutil
from pathlib import Path

import pytest

from vocseg.data import voc
from vocseg.data.datamodule import VOCDataModule


def ready(root: Path, image_size: int = 64, **options: object) -> VOCDataModule:
    """A data module after `prepare_data` and `setup`."""
    data = VOCDataModule(root=root, image_size=image_size, **options)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    return data


def voc_folder(root: Path) -> Path:
    """The `VOC2012` folder of a data set."""
    folder = voc.find(root)
    assert folder is not None
    return folder


@pytest.fixture
def copied(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample that a test may damage, without its cache."""
    return Path(shutil.copytree(sample, tmp_path / "set", ignore=shutil.ignore_patterns(".vocseg")))
