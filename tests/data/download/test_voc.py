"""VOC from an archive, or there already; folders that cannot hold it."""

import hashlib
import resource
import signal
from pathlib import Path

import pytest

from tests.data.download.faulty_server import FaultyServer
from vocseg.data import voc
from vocseg.data.download.voc import download_voc
from vocseg.errors import UserError


def test_existing_set_is_not_downloaded(
    server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = download_voc(tmp_path / "data", [f"{server.address}/x.tar"])
    capsys.readouterr()
    assert download_voc(tmp_path / "data", []) == there
    assert capsys.readouterr().out == f"VOC 2012 exists already: {there}\n"


def test_existing_set_in_read_only_folder_is_found(sample: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    download_voc(sample, [])
    assert {path: path.stat().st_mtime_ns for path in sample.rglob("*")} == before


def test_given_archive_is_used_and_not_removed(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert download_voc(tmp_path / "data", [], archive).is_dir()
    assert archive.is_file()
    assert f"using {archive}; it is not removed" in capsys.readouterr().out


def test_archive_in_the_folder_is_used_and_not_removed(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    archive.rename(tmp_path / "data" / voc.ARCHIVE)
    assert download_voc(tmp_path / "data", []).is_dir()
    assert (tmp_path / "data" / voc.ARCHIVE).is_file()


def test_given_archive_of_wrong_md5_raises_and_is_not_removed(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1] + b"!")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=f"{archive} has MD5 {md5}, not {voc.ARCHIVE_MD5}: it is incomplete"):
        download_voc(tmp_path / "data", [], archive)
    assert archive.is_file()
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".download.lock"]


def test_incomplete_folder_is_not_overwritten(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages"
    other.mkdir(parents=True)
    with pytest.raises(UserError, match="VOC2012 exists, but without ImageSets/Segmentation"):
        download_voc(tmp_path / "data", [], archive)
    assert other.is_dir()


def test_missing_disk_space_raises_before_download(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voc, "ARCHIVE_BYTES", 10**15)
    with pytest.raises(UserError, match=r"needs 2000000.0 GB in .*, but .* are free"):
        download_voc(tmp_path / "data", [f"{server.address}/x.tar"])
    assert server.log == []


def test_full_disk_raises_and_next_run_resumes(server: FaultyServer, tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's end."""
    old, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be read or written: File too large. Free some space"):
            download_voc(tmp_path / "data", [f"{server.address}/x.tar"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    download_voc(tmp_path / "data", [f"{server.address}/x.tar"])
    assert server.log[-1].range is not None


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder closed even to root")
def test_read_only_folder_raises(archive: Path) -> None:
    with pytest.raises(UserError, match=r"/sys/.* cannot be read or written: .*--root"):
        download_voc(Path("/sys"), [], archive)
