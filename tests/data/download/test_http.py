"""Download from an HTTP server with failures."""

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.download.conftest import HASTY
from tests.data.download.faulty_server import Fault, FaultyServer, serving
from vocseg.data import voc
from vocseg.data.download.http import OVERLAP
from vocseg.data.download.voc import download_voc
from vocseg.errors import UserError

HALF = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _get(root: Path, *servers: FaultyServer) -> Path:
    stalls = any(server.always and server.always.kind == "stall" for server in servers)
    policy = replace(HASTY, stall=1.0) if stalls else HASTY
    return download_voc(root, [f"{server.address}/{voc.ARCHIVE}" for server in servers], policy=policy)


def _refused(root: Path, *servers: FaultyServer) -> str:
    with pytest.raises(UserError, match="VOC 2012 could not be downloaded") as refusal:
        _get(root, *servers)
    assert voc.find(root) is None
    return refusal.value.sentence


def _files(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".download.lock"}


def test_download_is_complete_and_removes_the_archive(
    server: FaultyServer, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _get(root, server) == voc.find(root)
    assert len(list((root / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir())) == 27
    assert _files(root) == {"VOCdevkit"}
    said = capsys.readouterr().out
    assert "27 images, 27 masks, 20/7/27 ids (train/val/trainval)" in said
    assert "removed the downloaded archive" in said


@pytest.mark.parametrize("cuts", [1, 6])
def test_cut_connection_is_resumed(server: FaultyServer, root: Path, cuts: int) -> None:
    step = len(server.content) // (cuts + 1)
    server.plan = [Fault("cut", step)] + [Fault("cut", step + OVERLAP)] * (cuts - 1)
    _get(root, server)
    assert [request.range is not None for request in server.log] == [False] + [True] * cuts
    assert {request.condition for request in server.log[1:]} == {'"first"'}
    assert server.sent == len(server.content) + cuts * OVERLAP


def test_cut_without_content_length_is_detected(server: FaultyServer, root: Path) -> None:
    server.plan = [Fault("chunked", HALF)]
    _get(root, server)
    assert [request.status for request in server.log] == [200, 206]


@pytest.mark.parametrize("status", [503, 429, 500])
def test_busy_server_is_retried(server: FaultyServer, root: Path, status: int) -> None:
    server.plan = [Fault("status", status)] * 2
    _get(root, server)
    assert [request.status for request in server.log] == [status, status, 200]


def test_server_that_stays_busy_is_given_up(server: FaultyServer, root: Path) -> None:
    with serving(FaultyServer(b"", always=Fault("status", 503))) as busy:
        _get(root, busy, server)
        assert len(busy.log) == HASTY.tries


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirection_keeps_the_range(server: FaultyServer, root: Path, status: int) -> None:
    server.plan = [Fault("redirect", status), Fault("cut", HALF), Fault("redirect", status)]
    _get(root, server)
    assert [request.status for request in server.log] == [status, 200, status, 206]


LEFT_AT_ONCE = {
    "404": (Fault("status", 404), "status 404 Not Found"),
    "403": (Fault("status", 403), "status 403 Forbidden"),
    "web page": (Fault("html"), "a web page instead of the archive"),
    "announced too long": (Fault("longer"), "a file of .* bytes, not "),
    "announced too short": (Fault("shorter"), "a file of .* bytes, not "),
    "never-ending": (Fault("endless"), "more than .* bytes"),
    "other bytes": (Fault("wrong"), "its file has MD5 [0-9a-f]{32}, not "),
    "no byte": (Fault("stall", HALF), "it stopped sending"),
    "drip": (Fault("drip"), r"only \d+ bytes a second"),
    "redirected to a file": (Fault("out"), "InvalidSchema"),
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
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(f"{host}: {reason}.*; trying the next source", said)


@pytest.mark.parametrize("name", LEFT_AT_ONCE)
def test_permanent_failure_of_the_only_source_raises(server: FaultyServer, root: Path, name: str) -> None:
    server.always, reason = LEFT_AT_ONCE[name]
    sentence = _refused(root, server)
    assert re.search(reason, sentence)
    assert "--mirror" in sentence
    assert f"{voc.ARCHIVE} (MD5 {voc.ARCHIVE_MD5})" in sentence
    kept = name in ("no byte", "drip")
    assert _files(root) == ({f"{voc.ARCHIVE}.part", f"{voc.ARCHIVE}.part.json"} if kept else set())


def test_partial_download_is_resumed_at_the_next_source(server: FaultyServer, root: Path) -> None:
    with serving(FaultyServer(server.content, always=Fault("stall", HALF), tag='"other"')) as slow:
        _get(root, slow, server)
    assert server.log[0].range == f"bytes={HALF - OVERLAP}-"
    assert server.log[0].condition is None
    assert server.sent == len(server.content) - HALF + OVERLAP


def test_server_without_ranges_restarts(server: FaultyServer, root: Path) -> None:
    server.ranges, server.plan = False, [Fault("cut", HALF)]
    _get(root, server)
    assert [request.status for request in server.log] == [200, 200]


def test_server_without_ranges_that_always_cuts_is_given_up(server: FaultyServer, root: Path) -> None:
    server.ranges, server.always = False, Fault("cut", HALF)
    assert "the connection was cut" in _refused(root, server)
    assert len(server.log) == 1 + HASTY.tries


@pytest.mark.parametrize("kind", ["none", "heedless"])
def test_versions_are_not_mixed(
    server: FaultyServer, root: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not the server heeds the condition, and though they differ far from where they meet."""
    old = b"spoilt!" + server.content[7:]
    with serving(
        FaultyServer(old, tag='"old"', always=Fault("status", 404), plan=[Fault("cut", HALF)])
    ) as bad:
        _refused(root, bad)
        bad.content, bad.tag, bad.always = server.content, '"new"', Fault(kind)
        _get(root, bad)
        assert [request.status for request in bad.log[2:]] == ([200] if kind == "none" else [206, 200])
    assert "all of it again" not in capsys.readouterr().out


def test_overlap_is_compared_without_validator(server: FaultyServer, root: Path) -> None:
    with serving(FaultyServer(server.content, always=Fault("stall", HALF))) as slow:
        slow.content = bytes(len(server.content))
        _get(root, slow, server)
    assert [request.status for request in server.log] == [206, 200]


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


def test_complete_part_needs_no_server(server: FaultyServer, root: Path, archive: Path) -> None:
    _begin(server, root)
    (root / f"{voc.ARCHIVE}.part").write_bytes(server.content)
    server.log.clear()
    _get(root, server)
    assert server.log == []


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"x": 1}'])
def test_part_without_source_restarts(server: FaultyServer, root: Path, note: bytes) -> None:
    _begin(server, root)
    (root / f"{voc.ARCHIVE}.part.json").write_bytes(note)
    server.log.clear()
    _get(root, server)
    assert [request.range for request in server.log] == [None]


def _begin(server: FaultyServer, root: Path) -> None:
    """Leave half of the archive."""
    server.plan, server.always = [Fault("cut", HALF)], Fault("status", 404)
    _refused(root, server)
    server.always = None
    assert (root / f"{voc.ARCHIVE}.part").stat().st_size == HALF


def test_next_run_resumes(server: FaultyServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _begin(server, root)
    _get(root, server)
    assert server.log[-1].range == f"bytes={HALF - OVERLAP}-"
    assert f"resuming {voc.ARCHIVE} at 1 of" in capsys.readouterr().out


def test_no_connection_is_reported_for_each_source(
    archive: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, so that nobody else answers there; not listening
        nobody = FaultyServer(b"", address=f"http://127.0.0.1:{closed.getsockname()[1]}")
        sentence = _refused(root, nobody, nobody)
    host = nobody.address.removeprefix("http://")
    lines = [f"  {host}: no connection; trying the next source", f"  {host}: no connection"]
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "connection" in line] == lines  # one source a line
    assert "all 2 sources failed" in sentence
    assert "no connection" not in sentence
