"""Interrupted and concurrent downloads in processes."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.data.download.faulty_server import FaultyServer
from tests.forks import Forked
from vocseg.data import voc

Start = Callable[..., Forked]
DRIVER = """
import json, sys
from vocseg.data import voc
for name, value in json.loads(sys.argv.pop(1)).items():
    setattr(voc, name, value)
import os, signal, tarfile
left = [int(os.environ.get("KILL_AT", -1))]
def extract_or_die(member, path):
    left[0] -= 1
    if left[0] == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    return member
if left[0] >= 0:
    tarfile.data_filter = tarfile._NAMED_FILTERS["data"] = extract_or_die
from vocseg.__main__ import main
main(["download", *sys.argv[1:]])
"""


@pytest.fixture
def start(server: FaultyServer, tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m vocseg download` in a process whose official archive is the small one."""
    facts = json.dumps({name: getattr(voc, name) for name in ("ARCHIVE_MD5", "ARCHIVE_BYTES")})
    words = ["--root", str(tmp_path / "data"), "--mirror", f"{server.address}/", "--only_mirrors", "true"]
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(Forked([facts, *words], tmp_path, DRIVER, **more))


def _wait(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("what was waited for did not come about")


def _part(root: Path) -> int:
    path = root / "data" / f"{voc.ARCHIVE}.part"
    return path.stat().st_size if path.exists() else 0


def test_killed_download_resumes(server: FaultyServer, start: Start, tmp_path: Path) -> None:
    chance, server.delay = random.Random(7), 0.002
    kept = []
    for _ in range(4):
        process = start()
        goal = _part(tmp_path) + chance.randrange(1, len(server.content) // 6)
        _wait(lambda goal=goal: _part(tmp_path) >= goal)  # type: ignore[misc]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept.append(_part(tmp_path))
    server.delay = 0
    process = start()
    assert process.wait() == 0, process.err
    assert voc.find(tmp_path / "data") is not None
    asked = [int(request.range[6:-1]) if request.range else 0 for request in server.log]
    assert asked == [0, *kept]
    assert server.log[-1].sent == len(server.content) - asked[-1]


def test_killed_unpacking_restarts(server: FaultyServer, start: Start, tmp_path: Path) -> None:
    process, part = start(KILL_AT="60"), tmp_path / "data" / "VOCdevkit" / ".VOC2012.part"
    assert process.wait() == -signal.SIGKILL
    assert voc.find(tmp_path / "data") is None
    assert len(list(part.rglob("*"))) == 60
    (part / "stray.jpg").touch()
    process = start()
    assert process.wait() == 0, process.err
    assert len(server.log) == 1
    assert len(list((tmp_path / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir())) == 27
    assert not part.exists()


def test_two_processes_download_once(server: FaultyServer, start: Start, tmp_path: Path) -> None:
    server.delay = 0.2
    first = start()
    _wait(lambda: _part(tmp_path) > 0)
    second = start()
    second.wait_for("waiting")
    server.delay = 0
    assert (first.wait(), second.wait()) == (0, 0), first.err + second.err
    assert "VOC 2012 exists already" in second.out
    assert len(server.log) == 1


def test_signal_prints_the_saved_size(server: FaultyServer, start: Start, tmp_path: Path) -> None:
    server.delay = 0.1
    process = start()
    _wait(lambda: _part(tmp_path) > 100_000)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert "saved 0 of" in process.out
    assert process.err == "vocseg: stopped by SIGTERM; run this again to resume\n"
    assert _part(tmp_path) > 100_000
