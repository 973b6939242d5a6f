"""Unpacking of malicious and corrupt archives."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.data.download.conftest import believe
from vocseg.data import voc
from vocseg.data.download.voc import download_voc
from vocseg.errors import UserError

BASE = "VOCdevkit/VOC2012"
EVIL: dict[str, tuple[str, bytes, str, str]] = {  # name, type, link, what is said
    "upwards": ("../evil.txt", tarfile.REGTYPE, "", "leaves the folder"),
    "upwards from below": (f"{BASE}/../../../evil.txt", tarfile.REGTYPE, "", "leaves the folder"),
    "absolute": ("/tmp/evil.txt", tarfile.REGTYPE, "", "leaves the folder"),
    "symbolic link upwards": (f"{BASE}/evil.txt", tarfile.SYMTYPE, "../../../x", "leaves the folder"),
    "symbolic link, absolute": (f"{BASE}/evil.txt", tarfile.SYMTYPE, "/etc/hostname", "leaves the folder"),
    "hard link upwards": (f"{BASE}/evil.txt", tarfile.LNKTYPE, "../../x", "leaves the folder"),
    "device": (f"{BASE}/evil.txt", tarfile.CHRTYPE, "", "is a device or a pipe"),
    "pipe": (f"{BASE}/evil.txt", tarfile.FIFOTYPE, "", "is a device or a pipe"),
    "twice": (f"{BASE}/./ImageSets/Segmentation/val.txt", tarfile.REGTYPE, "", "is a duplicate"),
}


def _add(archive: Path, name: str, kind: bytes, link: str = "") -> None:
    with tarfile.open(archive, "a") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(entry, io.BytesIO(b"evil"))


@pytest.mark.parametrize("case", EVIL)
def test_entry_outside_the_folder_raises(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name, kind, link, what = EVIL[case]
    _add(archive, name, kind, link)
    believe(monkeypatch, archive)
    with pytest.raises(UserError, match=f"the entry '{name}' of {archive} .*{what}. Nothing was unpacked"):
        download_voc(tmp_path / "data", [], archive)
    assert not list(tmp_path.rglob("evil.txt"))
    assert list((tmp_path / "data" / "VOCdevkit").iterdir()) == []


def test_chained_links_outside_the_folder_raise(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link stays inside by its text; only one after the other they lead out."""
    _add(archive, "a/b/deep", tarfile.SYMTYPE, ".")
    _add(archive, "a/b/out", tarfile.SYMTYPE, "deep/deep/../../../../evil.txt")
    believe(monkeypatch, archive)
    with pytest.raises(UserError, match=r"a/b/out' .* leaves the folder"):
        download_voc(tmp_path / "data", [], archive)


def test_link_inside_the_folder_is_unpacked(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(archive, f"{BASE}/lists", tarfile.SYMTYPE, "ImageSets/Segmentation")
    believe(monkeypatch, archive)
    folder = download_voc(tmp_path / "data", [], archive)
    assert (folder / "lists" / "val.txt").read_text() == voc.split_list(folder, "val").read_text()


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_invalid_archive_raises(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    archive.write_bytes(content)
    believe(monkeypatch, archive)
    with pytest.raises(UserError, match="is not a complete tar archive"):
        download_voc(tmp_path / "data", [], archive)


def test_truncated_archive_raises(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.write_bytes(archive.read_bytes()[:700_000])
    believe(monkeypatch, archive)
    with pytest.raises(UserError, match="is not a complete tar archive"):
        download_voc(tmp_path / "data", [], archive)
    assert voc.find(tmp_path / "data") is None
