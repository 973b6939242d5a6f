"""Small archives in the official layouts, for which the facts are changed, and a server that has them."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.data.download.faulty_server import FaultyServer, serving
from vocseg import constants
from vocseg.data import voc
from vocseg.data.download import archive as archive_module

VAL_OF_SBD = 5  # validation images that SBD has masks for, too


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr(archive_module, "PAUSE", 0.01)


def _as_fetched(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what other tests derived from the set."""
    return None if ".vocseg" in entry.name else entry


@pytest.fixture
def archive(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tar of the sample set."""
    path = tmp_path / "elsewhere" / voc.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.add(sample / "VOCdevkit", "VOCdevkit", filter=_as_fetched)
    believe(monkeypatch, path)
    return path


@pytest.fixture
def server(archive: Path) -> Iterator[FaultyServer]:
    """A server that has it."""
    with serving(FaultyServer(archive.read_bytes())) as running:
        yield running


def believe(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Make an archive the official one."""
    kind = "SBD" if path.name == voc.SBD_ARCHIVE else "ARCHIVE"
    monkeypatch.setattr(voc, f"{kind}_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(voc, f"{kind}_BYTES", path.stat().st_size)


def mat(mask: np.ndarray) -> bytes:
    """A mask as SBD has it."""
    file = io.BytesIO()
    savemat(
        file, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.unique(mask)}}, do_compression=True
    )
    return file.getvalue()


@pytest.fixture
def small_voc(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a set whose list `train` is shorter: 8 of 20 training images, the others without a mask."""
    root = tmp_path / "data"
    shutil.copytree(sample, root, ignore=shutil.ignore_patterns(".vocseg"))  # what other tests derived
    folder = root / "VOCdevkit" / "VOC2012"
    ids = voc.split_ids(folder, "train")
    voc.split_list(folder, "train").write_text("\n".join(ids[:8]) + "\n")
    for id in ids[8:]:
        voc.mask_path(folder, id, "train").unlink()
    monkeypatch.setattr(voc, "SBD_TRAINAUG", 20)
    return root


@pytest.fixture
def sbd_archive(small_voc: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SBD with masks for all training images but two, and for some validation images."""
    full = sample / "VOCdevkit" / "VOC2012"
    train, val = voc.split_ids(full, "train")[2:], voc.split_ids(full, "val")[:VAL_OF_SBD]
    files = {f"cls/{id}.mat": mat(sbd_mask(full, id)) for id in [*train, *val]}
    files["img/unread.jpg"] = b"large"
    path = tmp_path / "elsewhere" / voc.SBD_ARCHIVE
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"benchmark_RELEASE/dataset/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    believe(monkeypatch, path)
    return path


def sbd_mask(folder: Path, id: str) -> np.ndarray:
    """What SBD says of an image: not what VOC says, and without void."""
    mask = np.asarray(Image.open(voc.mask_path(folder, id, "train")))
    return np.where(mask == constants.IGNORE_INDEX, 0, (mask + 1) % 21).astype(np.uint8)
