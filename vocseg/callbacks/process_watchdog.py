"""Termination of all ranks when one of them dies."""

import contextlib
import multiprocessing
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.config.error_messages import is_lost_process, to_user_error
from vocseg.errors import ERROR_PRINTER, Interrupted, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.signals import MAIN_PROCESS, PARENT, SIGNAL_GUARD

_POLL = 0.2  # seconds
_STOPPED = 128  # exit codes above: stopped by a signal
_GRACE = 3.0  # seconds for a process to end by itself after another has ended
_NOTES = "VOCSEG_NOTES"  # environment variable: folder of notes, with an unpredictable name
_MAX_CHARS = 2000  # of a note


class ProcessWatchdog(Callback):
    """Ends all processes of a run when one of them ends, with a single error message.

    The main process watches those that it started, and they watch it. A process with an error leaves a note
    with its message for the main process.
    """

    def __init__(self) -> None:
        self._watch: threading.Thread | None = None
        self._over = threading.Event()
        if os.environ.get("LOCAL_RANK", "0") == "0":  # inherited by the processes that this one starts
            os.environ[MAIN_PROCESS] = str(os.getpid())
            os.environ[_NOTES] = os.path.join(tempfile.gettempdir(), f"vocseg-{secrets.token_hex(16)}")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start watching."""
        if not _children(trainer) and not PARENT.watching:  # torchrun and SLURM watch theirs themselves
            return
        for (
            thread
        ) in threading.enumerate():  # Lightning's own watch would kill this process without a message
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []
        self._over = threading.Event()
        if PARENT.watching:
            PARENT.set_over(False)
            return
        arguments = (trainer, self._over)
        self._watch = threading.Thread(
            target=_watch_children, args=arguments, name="process-watchdog", daemon=True
        )
        self._watch.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop watching: every process may end."""
        self._over.set()
        PARENT.set_over(True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a note for the main process, or wait for the process that caused the error."""
        if isinstance(
            exception, Interrupted
        ):  # the others may wait for this one where signals have no effect
            self._over.set()
            for child in _children(trainer):
                child.kill()
            return
        if self._watch is None and not PARENT.watching:
            return
        if is_lost_process(exception):
            (self._watch or PARENT).join(_GRACE)  # it finds out which process it was, and ends this one
            return
        error = to_user_error(exception, trainer)
        if trainer.local_rank > 0 and error is not None:
            _write_note(trainer.local_rank, error.sentence)
        elif trainer.local_rank == 0 and isinstance(exception, Exception):
            self._over.set()
            deadline = time.monotonic() + _GRACE  # for the same error in the other processes
            for child in _children(trainer):
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.kill()
            _remove_notes()

    def _listen(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install our signal handlers again, as Lightning's may hang when they notify other processes."""
        if trainer.state.fn != "fit":
            SIGNAL_GUARD.listen()

    on_validation_start = on_test_start = on_predict_start = _listen


def _watch_children(trainer: Trainer, over: threading.Event) -> None:
    children = _children(trainer)
    while (found := _failure(children)) is None:
        if over.wait(_POLL) or SIGNAL_GUARD.received:
            return
    sentence, code = found
    ERROR_PRINTER.print(sentence)
    for child in children:
        child.kill()
    for logger in trainer.loggers:  # closes the curves
        with contextlib.suppress(Exception):
            logger.finalize("failed")
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(code)  # whatever the main thread is waiting for


def _failure(children: list[subprocess.Popen[bytes]]) -> tuple[str, int] | None:
    """Error message of the first process that failed, and exit code of the run."""
    for rank in range(1, len(children) + 1):
        if (sentence := _read_note(rank)) is not None:
            _remove_notes()
            return sentence, 2
    codes = [child.poll() or 0 for child in children]
    codes = [0 if code > _STOPPED else code for code in codes]  # all processes stop together after a signal
    worst = min(codes) if min(codes) < 0 else max(codes)  # a killed process causes the errors of the others
    if worst == 0:
        return None
    who = f"process {codes.index(worst) + 1} of {len(codes) + 1} (counted from 0)"
    if worst > 0:
        return f"{who} has ended with code {worst}. See its message.", worst
    name = signal.Signals(-worst).name
    hint = ", as by a system that runs out of memory" if name == "SIGKILL" else ""
    return f"{who} was ended by {name}{hint}. The others are ended too.", 2


def _children(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    return list(getattr(trainer.strategy.launcher, "procs", []))


def _write_note(rank: int, sentence: str) -> None:
    folder = Path(os.environ[_NOTES])
    with contextlib.suppress(OSError):  # without a note, the main process prints the exit code
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if _is_private(folder):
            atomic_write(folder / f"{rank}.txt", sentence)


def _read_note(rank: int) -> str | None:
    folder = Path(os.environ[_NOTES])
    try:
        return shown((folder / f"{rank}.txt").read_text(), _MAX_CHARS) if _is_private(folder) else None
    except (OSError, UnicodeDecodeError):
        return None


def _is_private(folder: Path) -> bool:
    """Return whether only this user can write into a folder, as temporary folders are shared."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return stat.S_ISDIR(status.st_mode) and own and not status.st_mode & 0o077


def _remove_notes() -> None:
    folder = Path(os.environ[_NOTES])
    if _is_private(folder):
        shutil.rmtree(folder, ignore_errors=True)
