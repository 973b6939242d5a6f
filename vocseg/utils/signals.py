"""Signal handling before and around a run."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from vocseg.errors import ERROR_PRINTER, Interrupted, Stopped

# What asks a process to end; SLURM sends one of the last two, which Windows does not have.
SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
MAIN_PROCESS = "VOCSEG_MAIN_PROCESS"  # its number, in the environment of those that it started
_ORDINARY = (signal.SIG_DFL, signal.default_int_handler)  # who asked for anything else keeps it
_PATIENCE = 5.0  # seconds to tidy up
_LOOK = 0.2  # seconds between two looks at the main process


class SignalGuard:
    """Listens while a command is at work, except where training does it itself.

    The main thread is interrupted where it is, so that whatever tidies up behind faults does so. A second
    thread hears the signal as well: where the main one waits within a library for what may never come, or an
    import swallows what was raised, the process is ended all the same. A second signal ends it at once.

    Attributes:
        heard: Whether there was a signal.
    """

    def __init__(self) -> None:
        """Nobody listens yet."""
        self.received = False
        self._raised = False
        self._number = 0  # of the signal that was heard
        self._before: dict[int, Any] = {}
        self._handler: Any = None  # what signals do meanwhile
        self._fd = -1  # who was told of signals before
        self._ear: socket.socket | None = None
        self._mouth: socket.socket | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.__exit__)

    def __enter__(self) -> "SignalGuard":
        """Begin to listen, in the main thread of a process that speaks for itself."""
        self.received = self._raised = False
        self._number = 0
        if threading.current_thread() is not threading.main_thread():
            return self
        found = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {number: handler for number, handler in found.items() if handler in _ORDINARY}
        if os.environ.get("LOCAL_RANK", "0") != "0":  # the main process of the run says why it ended
            helper = os.environ.get(MAIN_PROCESS) == str(os.getppid())  # which the main one ends
            self._handler = signal.SIG_IGN if helper else signal.SIG_DFL
            self.listen()
            return self
        self._handler = self._interrupt
        self._ear, mouth = socket.socketpair()
        mouth.setblocking(False)
        self._fd = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        self._mouth = mouth
        threading.Thread(target=self._wait, args=(self._ear,), name="interruption", daemon=True).start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        """Let signals do what they did before: at the end, and in every process that is forked."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handler:
                signal.signal(number, handler)
        self._before = {}
        if self._mouth is not None and self._ear is not None:
            signal.set_wakeup_fd(self._fd)
            self._mouth.close()  # which ends the thread
            self._ear = self._mouth = None

    def listen(self) -> None:
        """Take the signals, also from a library that took them in the meantime."""
        for number in self._before:
            signal.signal(number, self._handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            os._exit(128 + number)
        self.received, self._raised, self._number = True, True, number
        raise Interrupted(number)

    @contextlib.contextmanager
    def claiming(self) -> Iterator[None]:
        """A block that ends with `Interrupted` after a signal, whatever became of what the handler raised.

        It gets lost in a destructor, and torch's writer of files makes a RuntimeError of it.

        Raises:
            Interrupted: If there was a signal.
        """
        try:
            yield
        except Stopped:
            raise
        except Exception as fault:
            if self._raised:
                raise Interrupted(self._number) from fault
            raise
        if self._raised:
            raise Interrupted(self._number)

    def _wait(self, ear: socket.socket) -> None:
        """Hear signals even while the main thread does not; until the other end is closed."""
        with ear:
            while heard := ear.recv(1):
                if signal.getsignal(heard[0]) == self._interrupt:  # else a run hears it
                    self.received = True
                    ear.settimeout(_PATIENCE)
                    with contextlib.suppress(TimeoutError):
                        if not ear.recv(1):
                            return
                    _end(Interrupted(heard[0]))


def _end(stop: Interrupted) -> None:
    """End the process, whatever its main thread is waiting for."""
    ERROR_PRINTER.say(f"stopped by {stop.name}, in the midst of something that cannot be interrupted")
    exit_now(stop.exit_code)


def exit_now(code: int) -> None:
    """End the process now: Python's own way takes seconds, and may stumble over what is half-imported."""
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class ParentWatch:
    """Ends a process that the main process of a run has started, soon after the main process has ended.

    It begins with the program, before torch is imported: nobody else would end a process whose main process
    was killed while both were starting.
    """

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._thread: threading.Thread | None = None
        self._over = False

    @property
    def watching(self) -> bool:
        """Whether this is such a process; torchrun and SLURM end theirs themselves."""
        return self._thread is not None

    def start(self) -> None:
        """Begin, if another process of the run has started this one."""
        main = os.environ.get(MAIN_PROCESS, "")
        rank = os.environ.get("LOCAL_RANK", "0")
        if main.isdecimal() and rank != "0" and self._thread is None and sys.platform != "win32":
            arguments = (int(main), rank == "1")  # of several, one prints the sentence
            self._thread = threading.Thread(target=self._watch, args=arguments, name="parent", daemon=True)
            self._thread.start()

    def set_over(self, over: bool) -> None:
        """Say whether the run has ended well, so that the main process may end first."""
        self._over = over

    def join(self, seconds: float) -> None:
        """Wait to be ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _watch(self, main: int, prints: bool) -> None:
        while os.getppid() == main:
            time.sleep(_LOOK)
        if self._over:
            time.sleep(_PATIENCE)  # for what is left to do here
            exit_now(0)
        if prints:
            ERROR_PRINTER.say(
                f"the main process ({main}) has ended without a word, and the others end with it"
            )
        exit_now(2)


PARENT = ParentWatch()
SIGNAL_GUARD = SignalGuard()
