"""Processes of a run are killed, stopped or starved: the others end soon, with a sentence."""

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import tiny
from tests.forks import Forked, after_mounting, may_mount, run
from vocseg.callbacks.process_watchdog import ProcessWatchdog

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc"),
]

LONG = ["--trainer.max_epochs", "1000", "--image_panels.num_images", "0"]
LONG += ["--trainer.num_sanity_val_steps", "0"]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "2"]
NO_CACHE = ["--data.cache", "false"]


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
    (line,) = [line for line in lines if not any(text in line for text in warned)]
    return line


def _check_gone(pid: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline, "the other process is still there"
            time.sleep(0.05)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_killed_dataloader_worker_ends_run(sample: Path, here: Path, how: str) -> None:
    flags = ["--data.num_workers", "1", "--data.timeout", "6"]
    with _running(here, "fit", *tiny(sample), *LONG, *NO_CACHE, *flags) as run:
        worker = _children(run.pid)[0]
        os.kill(worker, getattr(signal, how))
        assert run.wait(60) == 2, run.out + run.err
        said = _sentence(run)
        assert ("was killed" if how == "SIGKILL" else "no batch for 6 seconds") in said
        assert "--data.num_workers 0" in said
        _check_gone(worker)


def test_killed_process_ends_the_other_with_message(sample: Path, here: Path) -> None:
    with _running(here, "fit", *tiny(sample), *LONG, *TWO) as run:
        os.kill(*_children(run.pid, "vocseg"), signal.SIGKILL)
        assert run.wait(30) == 2
        assert "process 1 of 2 (counted from 0) was ended by SIGKILL" in _sentence(run)


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
        _check_gone(other, 3)
        assert "Traceback" not in run.out + run.err


def test_error_of_one_process_is_printed_once(sample: Path, here: Path) -> None:
    """Whichever process meets the damaged image, one sentence names it, and both end."""
    shutil.copytree(sample, here / "copy", ignore=shutil.ignore_patterns(".vocseg"))
    with _running(here, "fit", *tiny(here / "copy"), *LONG, *TWO, *NO_CACHE) as run:
        (other,) = _children(run.pid, "vocseg")
        next((here / "copy").rglob("2007_000007.jpg")).write_bytes(b"spoilt")
        assert run.wait(60) == 2, run.out + run.err
        _check_gone(other)
        assert "2007_000007.jpg cannot be read" in _sentence(run)


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace of its own, which only root may have")
def test_small_shared_memory_raises_with_remedy(sample: Path, here: Path) -> None:
    words = [*tiny(sample), *NO_CACHE, "--data.num_workers", "2", "--data.image_size", "256"]
    done = run(["fit", *words], here, after_mounting("mount -t tmpfs -o size=1m tmpfs /dev/shm"))
    assert done.returncode == 2, done.stderr
    assert "vocseg: /dev/shm has room for 1.0 MB, but 2 DataLoader workers need 4.2 MB" in done.stderr
    assert "--data.num_workers 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_error_before_setup_ends_lightnings_observer() -> None:
    """Lightning's thread would kill the main process, which may not have printed its error yet."""
    over = threading.Event()
    observer: Any = threading.Thread(target=over.wait, name="child-process-observer")
    observer._child_processes = ["another process"]
    observer.start()
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    ProcessWatchdog().on_exception(trainer, None, ValueError())  # type: ignore[arg-type]
    over.set()
    assert observer._child_processes == []
