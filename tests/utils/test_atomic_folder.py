"""Folders of many small files: whole or absent, whoever fills them and whenever a process ends."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vocseg.utils.atomic_write import AtomicFolder


def _in_a_process(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("settled", [False, True])
def test_killed_process_leaves_no_folder(tmp_path: Path, settled: bool) -> None:
    def killed() -> None:
        folder = AtomicFolder(tmp_path / "found")
        folder.write("a.png", b"a")
        if settled:
            folder.settle()
        os.kill(os.getpid(), signal.SIGKILL)

    assert _in_a_process(killed) == -signal.SIGKILL
    assert not (tmp_path / "found").exists()


def test_processes_fill_one_folder_together(tmp_path: Path) -> None:
    mine = AtomicFolder(tmp_path / "found")

    def other() -> None:
        folder = AtomicFolder(tmp_path / "found")
        folder.write("b.png", b"b")
        folder.settle()

    assert _in_a_process(other) == 0
    mine.write("a.png", b"a")
    mine.settle()
    assert not (tmp_path / "found").exists()
    assert _in_a_process(mine.reveal) == 0
    mine.reveal()  # the other one came first
    assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == {
        "a.png": b"a",
        "b.png": b"b",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_files_are_synced_before_folder_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noting(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        assert not (tmp_path / "found").exists()
        sync(handle)

    folder = AtomicFolder(tmp_path / "found")
    folder.write("a.png", b"a")
    folder.write("b.png", b"b")
    monkeypatch.setattr(os, "fsync", noting)
    folder.settle()
    assert synced == ["a.png", "b.png", ".found.part"]


def test_dropped_folder_is_removed_and_old_folder_replaced(tmp_path: Path) -> None:
    folder = AtomicFolder(tmp_path / "found")
    folder.write("a.png", b"a")
    folder.drop()
    assert list(tmp_path.iterdir()) == []
    for content in (b"b", b"c"):
        folder = AtomicFolder(tmp_path / "found")
        folder.write("a.png", content)
        folder.settle()
        folder.reveal()
        folder.drop()  # too late
        assert (tmp_path / "found" / "a.png").read_bytes() == content
