"""Interrupted and concurrent downloads in processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data.download.faulty_server import FaultyServer
from vocseg.data import voc
from vocseg.data.download.http import OVERLAP

Start = Callable[..., "subprocess.Popen[str]"]
DRIVER = """
import json, sys
from vocseg.data import voc
for name, value in json.loads(sys.argv[1]).items():
    setattr(voc, name, value)
from vocseg.__main__ import main
import os, signal, tarfile
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started without it
extract, left = tarfile.TarFile.extract, [int(os.environ.get("KILL_AT", -1))]
def extract_or_die(*args, **kwargs):
    left[0] -= 1
    if left[0] == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    extract(*args, **kwargs)
if left[0] >= 0:
    tarfile.TarFile.extract = extract_or_die
main(["download", *sys.argv[2:]])
"""


@pytest.fixture
def start(server: FaultyServer, tmp_path: Path) -> Start:
    """Starts `python -m vocseg download` in a process of its own that believes in the small archive."""
    facts = {name: getattr(voc, name) for name in ("COUNTS", "ARCHIVE_MD5", "ARCHIVE_BYTES")}

    def run(**more: str) -> "subprocess.Popen[str]":
        words = ["--root", str(tmp_path / "data"), "--mirror", f"{server.address}/", "--only_mirrors", "true"]
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(facts), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


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
    chance, server.delay = random.Random(7), 0.005
    kept = []
    for _ in range(4):
        process = start()
        goal = _part(tmp_path) + chance.randrange(1, len(server.content) // 6)
        _wait(lambda goal=goal: _part(tmp_path) >= goal)  # type: ignore[misc]
        process.kill()
        process.communicate()
        kept.append(_part(tmp_path))
    server.delay = 0
    process = start()
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert voc.find(tmp_path / "data") is not None
    asked = [int(request.range[6:-1]) if request.range else 0 for request in server.log]
    assert asked == [0] + [max(0, size - OVERLAP) for size in kept]
    assert server.log[-1].sent == len(server.content) - asked[-1]


@pytest.mark.parametrize("entries", [0, 20, 60])
def test_killed_unpacking_restarts(server: FaultyServer, start: Start, tmp_path: Path, entries: int) -> None:
    process, part = start(KILL_AT=str(entries)), tmp_path / "data" / "VOCdevkit" / ".VOC2012.part"
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert voc.find(tmp_path / "data") is None
    assert len(list(part.rglob("*"))) == entries
    (part / "stray.jpg").touch()
    process = start()
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert len(server.log) == 1
    assert len(list((tmp_path / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir())) == 27
    assert not part.exists()


def test_two_processes_download_once(server: FaultyServer, start: Start, tmp_path: Path) -> None:
    server.delay = 0.2
    first = start()
    _wait(lambda: _part(tmp_path) > 0)
    second = start()
    _wait(lambda: "waiting" in (second.stdout.readline() if second.stdout else ""))
    server.delay = 0
    said = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "VOC 2012 exists already" in said[1]
    assert len(server.log) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_prints_the_saved_size(
    server: FaultyServer, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    server.delay = 0.1
    process = start()
    _wait(lambda: _part(tmp_path) > 100_000)
    process.send_signal(number)
    said = process.communicate()[0]
    assert process.returncode == 128 + number
    assert "saved 0 of" in said
    assert said.endswith(f"vocseg: stopped by {number.name}; run this again to resume\n")
    assert "Traceback" not in said
    assert _part(tmp_path) > 100_000
