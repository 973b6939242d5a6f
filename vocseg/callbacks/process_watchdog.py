"""Termination of all ranks when one of them dies."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import threading

from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.errors import ERROR_PRINTER, Interrupted
from vocseg.utils.signals import MAIN_PROCESS, SIGNAL_GUARD

_POLL = 0.2  # seconds
_STOPPED = 128  # exit codes above: stopped by a signal
_PRINTED = 2  # exit code of a process that printed its error
_DELAY = 1.0  # seconds in which the failure that caused an error of the main process is found


class ProcessWatchdog(Callback):
    """Ends all processes of a run when one of them ends, with a single error message.

    The main process watches those that it started; the system ends them with it. torchrun and SLURM watch
    theirs themselves.
    """

    def __init__(self) -> None:
        self._watch: threading.Thread | None = None
        self._over = threading.Event()
        if os.environ.get("LOCAL_RANK", "0") == "0":  # inherited by the processes that this one starts
            os.environ[MAIN_PROCESS] = str(os.getpid())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start watching."""
        if not _children(trainer):
            return
        _end_lightnings_observer()
        self._over = threading.Event()
        arguments = (trainer, self._over)
        self._watch = threading.Thread(target=_watch_children, args=arguments, daemon=True)
        self._watch.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop watching: every process may end."""
        self._over.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the other processes, unless one of them caused the error: then the watch ends this one."""
        if self._watch is not None and not isinstance(exception, Interrupted):
            self._watch.join(_DELAY)
        self._over.set()
        _end_lightnings_observer()  # an error may come before `setup`
        for child in _children(trainer):
            child.kill()

    def _listen(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install our signal handlers again, as Lightning's may hang when they notify other processes."""
        if trainer.state.fn != "fit":
            SIGNAL_GUARD.listen()

    on_validation_start = on_test_start = on_predict_start = _listen


def _end_lightnings_observer() -> None:
    """End the thread that would end all processes by SIGKILL, also the main one, without a message."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
            thread._child_processes = []


def _watch_children(trainer: Trainer, over: threading.Event) -> None:
    children = _children(trainer)
    while (code := _failure(children)) == 0:
        if over.wait(_POLL) or SIGNAL_GUARD.received:
            return
    for child in children:
        child.kill()
    for logger in trainer.loggers:  # closes the curves
        with contextlib.suppress(Exception):
            logger.finalize("failed")
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(code)  # whatever the main thread is waiting for


def _failure(children: list[subprocess.Popen[bytes]]) -> int:
    """Exit code of the run after a process failed, whose end is reported; 0: none did."""
    codes = [child.poll() or 0 for child in children]
    codes = [0 if code > _STOPPED else code for code in codes]  # all processes stop together after a signal
    worst = min(codes) if min(codes) < 0 else max(codes)  # a killed process causes the errors of the others
    who = f"process {codes.index(worst) + 1} of {len(codes) + 1} (counted from 0)"
    if worst < 0:
        name = signal.Signals(-worst).name
        hint = ", as by a system that runs out of memory" if name == "SIGKILL" else ""
        ERROR_PRINTER.print(f"{who} was ended by {name}{hint}. The others are ended too.")
        return _PRINTED
    if worst not in (0, _PRINTED):
        ERROR_PRINTER.print(f"{who} has ended with code {worst}. See its message.")
    return worst


def _children(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    return list(getattr(trainer.strategy.launcher, "procs", []))
