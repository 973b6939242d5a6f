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
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.config.error_messages import is_lost_process, to_user_error
from vocseg.errors import ERROR_PRINTER, Interrupted, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.signals import MAIN_PROCESS, PARENT, SIGNAL_GUARD

_LOOK = 0.2  # seconds between two looks at the others
_STOPPED = 128  # exit codes above are those of signals that were heard
_PATIENCE = 3.0  # seconds for a process to end by itself once another has ended
_NOTES = "VOCSEG_NOTES"  # the folder of the notes, in the environment: its name cannot be guessed
_MOST = 2000  # characters of a note


class ProcessWatchdog(Callback):
    """Ends a run of several processes as soon as one of them has ended, and lets one say why.

    The main process watches those that it started, and they watch it. Which of them found the fault is
    not foreseeable; those that did leave the main one a note with their sentence.
    """

    def __init__(self) -> None:
        self._watch: threading.Thread | None = None
        self._over = threading.Event()
        if os.environ.get("LOCAL_RANK", "0") == "0":  # those that are started from here inherit it
            os.environ[MAIN_PROCESS] = str(os.getpid())
            os.environ[_NOTES] = os.path.join(tempfile.gettempdir(), f"vocseg-{secrets.token_hex(16)}")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to watch."""
        if not _together(trainer):
            return
        for thread in threading.enumerate():  # Lightning's own watch would kill us before we say a word
            if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
                thread._child_processes = []
        self._over = threading.Event()
        if PARENT.watching:
            PARENT.set_over(False)
            return
        arguments = (trainer, self._over)
        self._watch = threading.Thread(
            target=self._watch_children, args=arguments, name="companions", daemon=True
        )
        self._watch.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """All went well: from now on each may end when it likes."""
        self._over.set()
        PARENT.set_over(True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell the main process what happened here; or be told by it what happened elsewhere."""
        if isinstance(
            exception, Interrupted
        ):  # the others may be waiting for this one where nothing is heard
            self._over.set()
            for child in _children(trainer):
                child.kill()
            return
        if self._watch is None and not PARENT.watching:
            return
        if is_lost_process(exception):
            watch = self._watch or PARENT
            watch.join(_PATIENCE)  # it finds out which process it was, and ends this one
            return
        sentence = to_user_error(exception, trainer)
        if trainer.local_rank > 0 and sentence is not None:
            _write_note(trainer.local_rank, sentence.sentence)
        elif trainer.local_rank == 0 and isinstance(exception, Exception):
            self._over.set()
            _await(_children(trainer))

    def _listen(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear signals again, which Lightning has taken: its way of telling other processes may hang."""
        if trainer.state.fn != "fit":
            SIGNAL_GUARD.listen()

    on_validation_start = on_test_start = on_predict_start = _listen

    def _watch_children(self, trainer: Trainer, over: threading.Event) -> None:
        children = _children(trainer)
        while (found := _fault(children)) is None:
            if over.wait(_LOOK) or SIGNAL_GUARD.received:
                return
        sentence, code = found
        ERROR_PRINTER.say(sentence)
        for child in children:
            child.kill()
        _end(trainer, code)


def _fault(children: list[subprocess.Popen[bytes]]) -> tuple[str, int] | None:
    """What to say of the first of them that is at fault, and the code to end with."""
    for rank in range(1, len(children) + 1):
        if (sentence := _read_note(rank)) is not None:
            _remove_notes()
            return sentence, 2
    codes = [child.poll() or 0 for child in children]
    codes = [0 if code > _STOPPED else code for code in codes]  # all have agreed to stop after a signal
    worst = min(codes) if min(codes) < 0 else max(codes)  # the killed one is the cause of the others' faults
    if worst == 0:
        return None
    who = f"process {codes.index(worst) + 1} of {len(codes) + 1} (counted from 0)"
    if worst > 0:
        return f"{who} has ended with code {worst}: see its message", worst
    name = signal.Signals(-worst).name
    hint = ", as a machine does that runs out of memory" if name == "SIGKILL" else ""
    return f"{who} was ended by {name}{hint}: the others are ended too", 2


def _children(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    return list(getattr(trainer.strategy.launcher, "procs", []))


def _together(trainer: Trainer) -> bool:
    """Whether this process started others, or was started so; torchrun and SLURM see to theirs themselves."""
    return bool(_children(trainer)) or PARENT.watching


def _write_note(rank: int, sentence: str) -> None:
    """Leave it for the main process, which may read it at any moment; without it, it names the exit code."""
    folder = Path(os.environ[_NOTES])
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if _is_private(folder):
            atomic_write(folder / f"{rank}.txt", sentence)


def _read_note(rank: int) -> str | None:
    """The sentence that a process has left; None: none."""
    folder = Path(os.environ[_NOTES])
    try:
        return shown((folder / f"{rank}.txt").read_text(), _MOST) if _is_private(folder) else None
    except (OSError, UnicodeDecodeError):
        return None


def _is_private(folder: Path) -> bool:
    """Whether nobody but this user can have written into a folder: temporary folders are everybody's."""
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


def _await(children: list[subprocess.Popen[bytes]]) -> None:
    """Give them time to find the same fault; then end them. Notes are not needed any more."""
    deadline = time.monotonic() + _PATIENCE
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
    _remove_notes()


def _end(trainer: Any, code: int) -> None:
    """End this process from a thread, whatever its main thread is waiting for; curves are closed first."""
    for logger in trainer.loggers:
        with contextlib.suppress(Exception):
            logger.finalize("failed")
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(code)
