"""SBD's masks beside VOC's, and the proof that no validation image is among them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import voc_folder
from tests.data.download.conftest import HASTY, Pack, believe, mat, sbd_mask
from tests.data.download.faulty_server import Fault, FaultyServer, serving
from vocseg import constants
from vocseg.data import voc
from vocseg.data.download.sbd import check_leak, contents, download_sbd
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
    small_voc: Path, sample: Path, pack_sbd: Pack, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = download_sbd(small_voc, [], pack_sbd({}))
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
    assert "trainaug: 20 images; none of val's 7 among them, by id and by content" in said
    capsys.readouterr()
    assert download_sbd(small_voc, []) == folder
    assert "trainaug exists already" in capsys.readouterr().out


def test_masks_have_voc_palette(small_voc: Path, pack_sbd: Pack) -> None:
    folder = download_sbd(small_voc, [], pack_sbd({}))
    with Image.open(voc.mask_path(folder, ID, "trainaug")) as mask:
        assert mask.mode == "P"
        palette = np.reshape(mask.getpalette(), (-1, 3))
    assert [tuple(colour) for colour in palette.tolist()] == list(constants.PALETTE)[: len(palette)]


def test_sbd_download_resumes(small_voc: Path, pack_sbd: Pack) -> None:
    path = pack_sbd({})
    server = FaultyServer(
        path.read_bytes(), plan=[Fault("cut", path.stat().st_size - 500), Fault("status", 503)]
    )
    with serving(server):
        folder = download_sbd(small_voc, [f"{server.address}/{voc.SBD_ARCHIVE}"], policy=HASTY)
    assert [request.status for request in server.log][:2] == [200, 503]
    assert len(voc.split_ids(folder, "trainaug")) == 20
    assert not list(small_voc.glob("*.part*"))


def test_missing_voc_is_downloaded_first(
    archive: Path, pack_sbd: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(archive, tmp_path / "new" / voc.ARCHIVE)
    folder = download_sbd(tmp_path / "new", [], pack_sbd({}))
    assert len(voc.split_ids(folder, "trainaug")) == 20


EMPTY = np.zeros((0, 5), np.uint8)
MALFORMED: dict[str, tuple[bytes, str]] = {
    "no MATLAB file": (b"MATLAB 5.0 or not", "is not a mask of SBD"),
    "empty": (b"", "is not a mask of SBD"),
    "truncated": (mat(np.eye(90, dtype=np.uint8))[:-20], "is not a mask of SBD"),
    "a class too many": (mat(np.full((9, 9), 21, np.uint8)), "values up to 21, not uint8"),
    "void": (mat(np.full((9, 9), 255, np.uint8)), "values up to 255, not uint8"),
    "real numbers": (mat(np.ones((9, 9))), r"holds float64 \[9, 9\]"),
    "three channels": (mat(np.ones((9, 9, 3), np.uint8)), r"holds uint8 \[9, 9, 3\]"),
    "no pixel": (mat(EMPTY), r"values up to nothing"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_mask_raises_and_writes_nothing(small_voc: Path, pack_sbd: Pack, case: str) -> None:
    content, what = MALFORMED[case]
    with pytest.raises(UserError, match=f"cls/{ID}.mat of .*{what}"):
        download_sbd(small_voc, [], pack_sbd({f"cls/{ID}.mat": content}))
    assert _files(voc_folder(small_voc)) == set()


def _smaller(folder: Path) -> None:
    path = voc.image_path(folder, ID)
    Image.open(path).crop((0, 0, 40, 30)).save(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "image missing": (lambda folder: voc.image_path(folder, ID).unlink(), f"{ID}.jpg is missing"),
    "image of another size": (_smaller, f"SBD's mask of {ID} is .* pixels, but its image is 40x30"),
    "image truncated": (
        lambda folder: voc.image_path(folder, ID).write_bytes(b"\xff\xd8\xff\xe0"),
        f"{ID}.jpg cannot be read",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_mismatched_image_raises_and_writes_nothing(small_voc: Path, pack_sbd: Pack, case: str) -> None:
    damage, what = DAMAGE[case]
    damage(voc_folder(small_voc))
    with pytest.raises(UserError, match=what):
        download_sbd(small_voc, [], pack_sbd({}))
    assert _files(voc_folder(small_voc)) == set()


def test_copy_of_validation_image_raises(small_voc: Path, pack_sbd: Pack) -> None:
    folder = voc_folder(small_voc)
    twin = voc.split_ids(folder, "val")[3]
    shutil.copy(voc.image_path(folder, twin), voc.image_path(folder, ID))
    width, height = Image.open(voc.image_path(folder, twin)).size
    fitting = {f"cls/{ID}.mat": mat(np.zeros((height, width), np.uint8))}
    with pytest.raises(UserError, match=f"the training image {ID} is a copy of the validation image {twin}"):
        download_sbd(small_voc, [], pack_sbd(fitting))
    assert _files(folder) == set()


def test_copy_in_another_format_raises(sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "JPEGImages").mkdir(parents=True)
    twin = voc.split_ids(voc_folder(sample), "val")[0]
    shutil.copy(voc.image_path(voc_folder(sample), twin), voc.image_path(folder, twin))
    Image.open(voc.image_path(folder, twin)).save(voc.image_path(folder, "new"), "PNG")
    with pytest.raises(UserError, match=f"the training image new is a copy of the validation image {twin}"):
        check_leak(contents(folder, ["new", twin]), ["new"], [twin])


def test_id_in_both_splits_raises(sample: Path) -> None:
    folder = voc_folder(sample)
    val = voc.split_ids(folder, "val")
    with pytest.raises(UserError, match=f"the training image {val[2]} is in the validation split"):
        check_leak(contents(folder, val), [val[2]], val)


def test_same_bytes_of_another_shape_are_no_copy(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    for id, size in {"a": (20, 30), "b": (30, 20)}.items():
        Image.new("RGB", size).save(voc.image_path(tmp_path, id))
    shown = contents(tmp_path, ["a", "b"])
    assert shown["a"].digest != shown["b"].digest
    check_leak(shown, ["a"], ["b"])


def test_missing_mask_raises(small_voc: Path, pack_sbd: Pack) -> None:
    folder = voc_folder(small_voc)
    voc.mask_path(folder, "2007_000001", "train").unlink()
    with pytest.raises(UserError, match="neither SBD nor VOC has a mask for the image 2007_000001"):
        download_sbd(small_voc, [], pack_sbd({}))
    assert _files(folder) == set()


def test_wrong_number_of_images_raises(
    small_voc: Path, pack_sbd: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voc, "SBD_TRAINAUG", 10_582)
    with pytest.raises(UserError, match="SBD and VOC give 20 ids, not 10,582"):
        download_sbd(small_voc, [], pack_sbd({}))
    assert _files(voc_folder(small_voc)) == set()


def test_archive_of_another_layout_raises(
    small_voc: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = archive.rename(archive.with_name(voc.SBD_ARCHIVE))
    believe(monkeypatch, other)
    with pytest.raises(UserError, match=r"has no benchmark_RELEASE/dataset/train.txt and val.txt"):
        download_sbd(small_voc, [], other)
    assert _files(voc_folder(small_voc)) == set()


def test_interrupted_rename_is_completed(small_voc: Path, pack_sbd: Pack) -> None:
    folder = download_sbd(small_voc, [], pack_sbd({}))
    listed = voc.split_list(folder, "trainaug")
    text = listed.read_text()
    listed.rename(listed.with_suffix(".part"))
    download_sbd(small_voc, [])
    assert listed.read_text() == text
    assert _files(folder) == {"SegmentationClassAug", "trainaug.txt"}


def test_leftovers_of_interrupted_run_are_replaced(small_voc: Path, pack_sbd: Pack) -> None:
    folder = voc_folder(small_voc)
    (folder / ".SegmentationClassAug.part").mkdir()
    (folder / ".SegmentationClassAug.part" / "stray.png").touch()
    voc.split_list(folder, "trainaug").with_suffix(".part").write_text("half")
    download_sbd(small_voc, [], pack_sbd({}))
    assert _files(folder) == {"SegmentationClassAug", "trainaug.txt"}
    assert len(voc.split_ids(folder, "trainaug")) == 20


@pytest.mark.parametrize("name", ["SegmentationClassAug", "ImageSets/Segmentation/trainaug.txt"])
def test_masks_without_split_are_not_overwritten(small_voc: Path, pack_sbd: Pack, name: str) -> None:
    path = voc_folder(small_voc) / name
    path.write_text("2007_000001\n") if path.suffix else path.mkdir()
    with pytest.raises(UserError, match=f"{path} exists without .*. Move it away"):
        download_sbd(small_voc, [], pack_sbd({}))
    assert path.exists()
