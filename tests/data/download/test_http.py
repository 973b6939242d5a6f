"""Download from an HTTP server with failures."""

import re
import socket
from pathlib import Path

import pytest

from tests.data.download.faulty_server import Fault, FaultyServer, serving
from vocseg.data import voc
from vocseg.data.download import archive as archive_module
from vocseg.data.download.voc import download_voc
from vocseg.errors import UserError

HALF = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def short_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "STALL", 0.5)


def _get(root: Path, *servers: FaultyServer) -> Path:
    return download_voc(root, [f"{server.address}/{voc.ARCHIVE}" for server in servers])


def _refused(root: Path, *servers: FaultyServer) -> str:
    with pytest.raises(UserError, match="VOC 2012 could not be downloaded") as refusal:
        _get(root, *servers)
    assert voc.find(root) is None
    return refusal.value.sentence


def _files(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".download.lock"}


def test_download_is_complete_and_removes_the_archive(server: FaultyServer, root: Path) -> None:
    assert _get(root, server) == voc.find(root)
    assert len(list((root / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir())) == 27
    assert _files(root) == {"VOCdevkit"}


def test_cut_connection_is_resumed(server: FaultyServer, root: Path) -> None:
    server.plan = [Fault("cut", len(server.content) // 7)] * 6
    _get(root, server)
    assert [request.range is not None for request in server.log] == [False] + [True] * 6
    assert {request.condition for request in server.log[1:]} == {'"first"'}
    assert server.sent == len(server.content)


def test_cut_without_content_length_is_detected(server: FaultyServer, root: Path) -> None:
    server.plan = [Fault("chunked", HALF)]
    _get(root, server)
    assert [request.status for request in server.log] == [200, 206]


def test_busy_server_is_retried(server: FaultyServer, root: Path) -> None:
    server.plan = [Fault("status", 503), Fault("status", 429)]
    _get(root, server)
    assert [request.status for request in server.log] == [503, 429, 200]


def test_server_that_stays_busy_is_given_up(server: FaultyServer, root: Path) -> None:
    with serving(FaultyServer(b"", always=Fault("status", 503))) as busy:
        _get(root, busy, server)
        assert len(busy.log) == archive_module.TRIES


LEFT_AT_ONCE = {
    "404": (Fault("status", 404), "status 404 Not Found"),
    "web page": (Fault("html"), "a web page instead of the archive"),
    "announced too long": (Fault("longer"), "a response of .* bytes, which is not the archive"),
    "never-ending": (Fault("endless"), "more than .* bytes"),
    "other bytes": (Fault("wrong"), "its file has MD5 [0-9a-f]{32}, not "),
    "no byte": (Fault("stall", HALF), "no byte for 0 s"),
}


@pytest.mark.parametrize("name", LEFT_AT_ONCE)
def test_permanent_failure_tries_the_next_source(
    server: FaultyServer, root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault, reason = LEFT_AT_ONCE[name]
    with serving(FaultyServer(server.content, always=fault)) as bad:
        _get(root, bad, server)
        assert len(bad.log) == 1
        host = bad.address.removeprefix("http://")
    assert re.search(f"  {host}: {reason}", capsys.readouterr().out)


def test_failure_of_all_sources_names_reasons_and_remedy(server: FaultyServer, root: Path) -> None:
    server.always = Fault("status", 404)
    with serving(FaultyServer(server.content, always=Fault("html"))) as page:
        sentence = _refused(root, server, page)
    assert "status 404 Not Found" in sentence
    assert "a web page instead of the archive" in sentence
    assert "--mirror" in sentence
    assert f"{voc.ARCHIVE} (MD5 {voc.ARCHIVE_MD5})" in sentence


def test_partial_download_is_resumed_at_the_next_source(server: FaultyServer, root: Path) -> None:
    with serving(FaultyServer(server.content, always=Fault("stall", HALF), tag='"other"')) as slow:
        _get(root, slow, server)
    assert server.log[0].range == f"bytes={HALF}-"
    assert server.log[0].condition is None
    assert server.sent == len(server.content) - HALF


def test_server_without_ranges_that_always_cuts_is_given_up(server: FaultyServer, root: Path) -> None:
    server.ranges, server.always = False, Fault("cut", HALF)
    assert "it was cut" in _refused(root, server)
    assert len(server.log) == 1 + archive_module.TRIES


def test_other_version_of_the_file_restarts(
    server: FaultyServer, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, server.content = server.content, b"spoilt!" + server.content[7:]
    server.plan = [Fault("cut", HALF)]

    def change(seconds: float) -> None:
        server.content, server.tag = good, '"new"'

    monkeypatch.setattr("vocseg.data.download.archive.time.sleep", change)
    server.delay = 0
    _get(root, server)
    assert [request.status for request in server.log] == [200, 200]
    assert "all of it again" not in capsys.readouterr().out


def test_wrong_md5_after_resume_downloads_again(
    server: FaultyServer, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FaultyServer(b"spoilt!" + server.content[7:], always=Fault("stall", HALF))) as slow:
        _get(root, slow, server)
    assert [request.status for request in server.log] == [206, 200]
    assert "downloading all of it again" in capsys.readouterr().out


def test_status_416_restarts(server: FaultyServer, root: Path) -> None:
    server.plan = [Fault("cut", HALF), Fault("status", 416)]
    _get(root, server)
    assert [request.status for request in server.log] == [200, 416, 200]


def test_complete_part_needs_no_server(server: FaultyServer, root: Path) -> None:
    root.mkdir()
    (root / f"{voc.ARCHIVE}.part").write_bytes(server.content)
    _get(root, server)
    assert server.log == []


def test_next_run_resumes(server: FaultyServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.plan, server.always = [Fault("cut", HALF)], Fault("status", 404)
    _refused(root, server)
    assert (root / f"{voc.ARCHIVE}.part").stat().st_size == HALF
    server.always = None
    _get(root, server)
    assert server.log[-1].range == f"bytes={HALF}-"
    assert f"resuming {voc.ARCHIVE} at 1 of" in capsys.readouterr().out


def test_no_connection_is_reported_for_each_source(
    archive: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, so that nobody else answers there; not listening
        nobody = FaultyServer(b"", address=f"http://127.0.0.1:{closed.getsockname()[1]}")
        sentence = _refused(root, nobody, FaultyServer(b"", address=f"{nobody.address}/second"))
    host = nobody.address.removeprefix("http://")
    assert sentence.count(f"{host}: no connection") == 2
    assert capsys.readouterr().out.count(f"  {host}: no connection") == 2
