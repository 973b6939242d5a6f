"""Getting VOC, from a real HTTP server on this machine."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vocseg import voc
from vocseg.data.download import download_voc
from vocseg.errors import UserError


@pytest.fixture
def archive(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tar of the sample set in the official layout, for which the facts are changed."""
    path = tmp_path / "server" / voc.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.add(sample / "VOCdevkit", "VOCdevkit")
    counts = {"train": 20, "val": 7, "trainval": 27, "images": 27, "masks": 27}
    monkeypatch.setattr(voc, "ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(voc, "ARCHIVE_BYTES", path.stat().st_size)
    monkeypatch.setattr(voc, "COUNTS", counts)
    return path


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    """The address of a server that has it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_the_second_source_serves_when_the_first_has_nothing(server: str, tmp_path: Path) -> None:
    folder = download_voc(tmp_path / "data", [f"{server}/nothing.tar", f"{server}/{voc.ARCHIVE}"])
    assert folder == voc.find(tmp_path / "data")
    assert len(voc.split_ids(folder, "val")) == 7


def test_what_is_there_is_not_fetched_again(server: str, tmp_path: Path) -> None:
    download_voc(tmp_path / "data", [f"{server}/{voc.ARCHIVE}"])
    assert download_voc(tmp_path / "data", []) == voc.find(tmp_path / "data")


def test_an_archive_put_there_by_hand_is_used(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    archive.rename(tmp_path / "data" / voc.ARCHIVE)
    assert download_voc(tmp_path / "data", []).is_dir()


def test_without_a_network_the_way_out_is_told(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"could not be fetched .*ConnectionError.* put it into .*--data.root"
    ):
        download_voc(tmp_path / "data", [f"http://127.0.0.1:9/{voc.ARCHIVE}"])
    assert voc.find(tmp_path / "data") is None


def test_wrong_bytes_are_never_unpacked(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc, "ARCHIVE_MD5", "0" * 32)
    with pytest.raises(UserError, match=r"could not be fetched .*ValueError"):
        download_voc(tmp_path / "data", [f"{server}/{voc.ARCHIVE}"])
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".download.lock"]


def test_an_archive_by_hand_with_other_bytes_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / voc.ARCHIVE).write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"has MD5 .*, not .*: it is incomplete"):
        download_voc(tmp_path / "data", [])


def test_an_archive_that_reaches_out_of_its_folder_is_not_unpacked(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(archive, "a") as tar:
        entry = tarfile.TarInfo("../evil.txt")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    monkeypatch.setattr(voc, "ARCHIVE_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    (tmp_path / "data").mkdir()
    archive.rename(tmp_path / "data" / voc.ARCHIVE)
    with pytest.raises(tarfile.OutsideDestinationError):
        download_voc(tmp_path / "data", [])
    assert not list(tmp_path.rglob("evil.txt"))
    assert voc.find(tmp_path / "data") is None


def test_a_full_disk_is_said_before_anything_is_written(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voc, "ARCHIVE_BYTES", 10**15)
    with pytest.raises(UserError, match=r"needs 2000000.0 GB in .*, but .* GB are free"):
        download_voc(tmp_path / "data", [])
