"""SBD's masks beside VOC's."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import voc_folder
from tests.data.download.conftest import sbd_mask
from vocseg.data import voc
from vocseg.data.download.sbd import download_sbd
from vocseg.data.image_io import read_mask
from vocseg.errors import UserError

ID = "2007_000011"  # one that only SBD has a mask for


def _files(folder: Path) -> set[str]:
    """What SBD added or left."""
    found = [
        *folder.glob("*Aug*"),
        *folder.glob(".*"),
        *(folder / "ImageSets" / "Segmentation").glob("*aug*"),
    ]
    return {path.name for path in found}


def test_masks_and_split_are_added(
    small_voc: Path, sample: Path, sbd_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = download_sbd(small_voc, [], sbd_archive)
    ids, official = voc.split_ids(folder, "trainaug"), voc.split_ids(folder, "train")
    assert ids == sorted(ids)
    assert len(ids) == 20
    assert not set(ids) & set(voc.split_ids(folder, "val"))
    assert {path.stem for path in (folder / "SegmentationClassAug").iterdir()} == set(ids)
    full = voc_folder(sample)
    for id in ids:
        want = read_mask(voc.mask_path(full, id, "train")) if id in official else sbd_mask(full, id)
        np.testing.assert_array_equal(read_mask(voc.mask_path(folder, id, "trainaug")), want)
    said = capsys.readouterr().out
    assert "trainaug: 20 images" in said
    capsys.readouterr()
    assert download_sbd(small_voc, []) == folder
    assert "trainaug exists already" in capsys.readouterr().out


def test_missing_voc_is_downloaded_first(
    archive: Path, sbd_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(archive, tmp_path / "new" / voc.ARCHIVE)
    folder = download_sbd(tmp_path / "new", [], sbd_archive)
    assert len(voc.split_ids(folder, "trainaug")) == 20


def test_wrong_number_of_images_raises(
    small_voc: Path, sbd_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voc, "SBD_TRAINAUG", 10_582)
    with pytest.raises(UserError, match="SBD and VOC give 20 ids, not 10,582"):
        download_sbd(small_voc, [], sbd_archive)
    assert _files(voc_folder(small_voc)) == set()


def test_leftovers_of_interrupted_run_are_replaced(small_voc: Path, sbd_archive: Path) -> None:
    folder = voc_folder(small_voc)
    (folder / ".SegmentationClassAug.part").mkdir()
    (folder / ".SegmentationClassAug.part" / "stray.png").touch()
    download_sbd(small_voc, [], sbd_archive)
    assert _files(folder) == {"SegmentationClassAug", "trainaug.txt"}
    assert len(voc.split_ids(folder, "trainaug")) == 20


@pytest.mark.parametrize("name", ["SegmentationClassAug", "ImageSets/Segmentation/trainaug.txt"])
def test_masks_without_split_are_not_overwritten(small_voc: Path, sbd_archive: Path, name: str) -> None:
    path = voc_folder(small_voc) / name
    path.write_text("2007_000001\n") if path.suffix else path.mkdir()
    with pytest.raises(UserError, match=f"{path} exists, but .*. Move it away"):
        download_sbd(small_voc, [], sbd_archive)
    assert path.exists()
