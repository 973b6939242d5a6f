"""Processes of a run are killed, stopped or starved: the others end soon, with a sentence."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import tiny
from tests.forks import Forked, after_mounting, may_mount, run
from vocseg.callbacks import process_watchdog

pytestmark = pytest.mark.slow

LONG = [
    "--trainer.max_epochs",
    "1000",
    "--image_panels.num_images",
    "0",
    "--trainer.num_sanity_val_steps",
    "0",
]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "2"]
NO_STORE = ["--data.cache", "false"]


@contextlib.contextmanager
def _running(here: Path, *words: str) -> Iterator[Forked]:
    """A run in the midst of training."""
    with Forked(list(words), here) as run:
        _until(lambda: bool(list(here.glob("lightning_logs/*/version_0/last.ckpt"))), run)
        yield run


def _until(true: Callable[[], bool], run: Forked) -> None:
    deadline = time.monotonic() + 200
    while not true():
        assert run.poll() is None, run.out + run.err
        assert time.monotonic() < deadline, run.out + run.err
        time.sleep(0.1)


def _children(pid: int, words: str = "") -> list[int]:
    """Processes that a process has started, by what their command line holds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    return [k for k in sorted(found) if words in Path(f"/proc/{k}/cmdline").read_bytes().decode()]


def _sentence(run: Forked) -> str:
    """The only line of the run with an error. After some epochs `CollapseWarning` has lines of its own."""
    assert "Traceback" not in run.out + run.err, run.err
    lines = [line for line in [*run.out.splitlines(), *run.err.splitlines()] if line.startswith("vocseg: ")]
    warned = ("of the pixels are predicted as", "if every predicted class is replaced")
    lines = [line for line in lines if not any(text in line for text in warned)]
    assert len(lines) == 1, lines
    return lines[0]


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_killed_dataloader_worker_ends_run(sample: Path, here: Path, how: str) -> None:
    flags = ["--data.num_workers", "1", "--data.timeout", "6"]
    with _running(here, "fit", *tiny(sample), *LONG, *NO_STORE, *flags) as run:
        workers = _children(run.pid)
        os.kill(workers[0], getattr(signal, how))
        assert run.wait(60) == 2, run.out + run.err
        said = _sentence(run)
        assert ("was killed" if how == "SIGKILL" else "no batch for 6 seconds") in said
        assert "--data.num_workers 0" in said
        _wait_for(lambda: all(map(_gone, workers)))


def _wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("which", ["main", "other"])
def test_killed_process_ends_the_other_with_message(sample: Path, here: Path, which: str) -> None:
    with _running(here, "fit", *tiny(sample), *LONG, *TWO) as run:
        (other,) = _children(run.pid, "vocseg")
        os.kill(run.pid if which == "main" else other, signal.SIGKILL)
        code = run.wait(30)
        _wait_for(lambda: _gone(other))
        said = _sentence(run)
        if which == "main":
            assert f"the main process ({run.pid}) ended without a message" in said
        else:
            assert code == 2
            assert "process 1 of 2 (counted from 0) was ended by SIGKILL" in said


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "seconds"), [(signal.SIGKILL, 0.0), (signal.SIGKILL, 3.0), (signal.SIGTERM, 1.0)]
)
def test_main_process_killed_during_start_ends_the_other_within_seconds(
    sample: Path, here: Path, number: int, seconds: float
) -> None:
    with Forked(["fit", *tiny(sample), *LONG, *TWO], here) as run:
        _until(lambda: bool(_children(run.pid, "vocseg")), run)
        (other,) = _children(run.pid, "vocseg")
        time.sleep(seconds)
        os.kill(run.pid, number)
        run.wait(30)
        deadline = time.monotonic() + 3
        while not _gone(other):
            assert time.monotonic() < deadline, "the other process is still there"
            time.sleep(0.05)
        assert "Traceback" not in run.out + run.err


def test_note_of_another_user_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "1.txt").write_text("\x1b[2Jforged")
    monkeypatch.setenv("VOCSEG_NOTES", str(folder))
    assert process_watchdog._read_note(1) is None
    folder.chmod(0o700)
    assert process_watchdog._read_note(1) == "\\x1b[2Jforged"
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv("VOCSEG_NOTES", str(tmp_path / "link"))
    assert process_watchdog._read_note(1) is None


def test_note_is_written_into_a_folder_of_this_user_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOCSEG_NOTES", str(tmp_path / "notes"))
    process_watchdog._write_note(1, "what happened")
    assert (tmp_path / "notes").stat().st_mode & 0o777 == 0o700
    assert process_watchdog._read_note(1) == "what happened"
    process_watchdog._remove_notes()
    assert not (tmp_path / "notes").exists()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_error_of_one_process_is_printed_once(sample: Path, here: Path) -> None:
    """Whichever process meets the damaged image, the main one says so, and both end."""
    shutil.copytree(sample, here / "copy", ignore=shutil.ignore_patterns(".vocseg"))
    with _running(here, "fit", *tiny(here / "copy"), *LONG, *TWO, *NO_STORE) as run:
        (other,) = _children(run.pid, "vocseg")
        next((here / "copy").rglob("2007_000007.jpg")).write_bytes(b"spoilt")
        assert run.wait(60) == 2, run.out + run.err
        _wait_for(lambda: _gone(other))
        said = _sentence(run)
        assert "2007_000007.jpg cannot be read" in said


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace of its own, which only root may have")
def test_small_shared_memory_raises_with_remedy(sample: Path, here: Path) -> None:
    words = [*tiny(sample), *NO_STORE, "--data.num_workers", "2", "--data.image_size", "256"]
    done = run(["fit", *words], here, after_mounting("mount -t tmpfs -o size=1m tmpfs /dev/shm"))
    assert done.returncode == 2, done.stderr
    assert "vocseg: /dev/shm has room for 1.0 MB, but 2 DataLoader workers need 4.2 MB" in done.stderr
    assert "--data.num_workers 0" in done.stderr
    assert "Traceback" not in done.stderr
