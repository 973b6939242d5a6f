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

# Signals that end a process. SLURM sends one of the last two, which Windows does not have.
SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
MAIN_PROCESS = "VOCSEG_MAIN_PROCESS"  # environment variable: its process id, for the processes it started
_DEFAULT_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)  # any other handler is left in place
_GRACE = 5.0  # seconds for clean-up
_POLL = 0.2  # seconds between two checks of the main process


class SignalGuard:
    """Context that turns signals into `Interrupted` in the main thread, except while training handles them.

    If the main thread does not react within five seconds, or on a second signal, the process exits.

    Attributes:
        received: Whether there was a signal.
    """

    # A second thread receives signals too: the main one may wait in a library, or an import may swallow the
    # exception.

    def __init__(self) -> None:
        self.received = False
        self._raised = False
        self._number = 0  # of the received signal
        self._previous: dict[int, Any] = {}  # handlers
        self._handler: Any = None
        self._previous_fd = -1  # wake-up file descriptor
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.__exit__)

    def __enter__(self) -> "SignalGuard":
        self.received = self._raised = False
        self._number = 0
        if threading.current_thread() is not threading.main_thread():
            return self
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._previous = {number: each for number, each in handlers.items() if each in _DEFAULT_HANDLERS}
        if os.environ.get("LOCAL_RANK", "0") != "0":  # the main process prints the reason
            is_child = os.environ.get(MAIN_PROCESS) == str(os.getppid())  # the main process ends it
            self._handler = signal.SIG_IGN if is_child else signal.SIG_DFL
            self.listen()
            return self
        self._handler = self._interrupt
        self._receiver, sender = socket.socketpair()
        sender.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        self._sender = sender
        threading.Thread(target=self._wait, args=(self._receiver,), name="interruption", daemon=True).start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:  # also in every forked process
        for number, handler in self._previous.items():
            if signal.getsignal(number) == self._handler:
                signal.signal(number, handler)
        self._previous = {}
        if self._sender is not None and self._receiver is not None:
            signal.set_wakeup_fd(self._previous_fd)
            self._sender.close()  # ends the thread
            self._receiver = self._sender = None

    def listen(self) -> None:
        """Install the handlers, also after a library replaced them."""
        for number in self._previous:
            signal.signal(number, self._handler)

    @contextlib.contextmanager
    def claiming(self) -> Iterator[None]:
        """Raise `Interrupted` at the end of the block if a signal was received but its exception was lost.

        Exceptions are lost in destructors, and torch's file writer raises a RuntimeError instead.

        Raises:
            Interrupted: If there was a signal.
        """
        try:
            yield
        except Stopped:
            raise
        except Exception as error:
            if self._raised:
                raise Interrupted(self._number) from error
            raise
        if self._raised:
            raise Interrupted(self._number)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            os._exit(128 + number)
        self.received, self._raised, self._number = True, True, number
        raise Interrupted(number)

    def _wait(self, receiver: socket.socket) -> None:
        """Exit the process if the main thread does not react. Runs until the sender is closed."""
        with receiver:
            while data := receiver.recv(1):
                if signal.getsignal(data[0]) != self._interrupt:  # a run handles it
                    continue
                self.received = True
                receiver.settimeout(_GRACE)
                with contextlib.suppress(TimeoutError):
                    if not receiver.recv(1):
                        return
                stop = Interrupted(data[0])
                ERROR_PRINTER.print(f"stopped by {stop.name}, during an operation that cannot be interrupted")
                exit_now(stop.exit_code)


def exit_now(code: int) -> None:
    """Exit without Python's finalisation, which takes seconds and may fail on half-imported modules."""
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class ParentWatch:
    """Ends a process that the main process of a run started, soon after the main process has ended.

    It starts before torch is imported, to cover a main process that is killed during start-up.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._over = False

    @property
    def watching(self) -> bool:
        """Whether this is such a process. torchrun and SLURM end theirs themselves."""
        return self._thread is not None

    def start(self) -> None:
        """Start watching if another process of the run started this one."""
        main = os.environ.get(MAIN_PROCESS, "")
        rank = os.environ.get("LOCAL_RANK", "0")
        if main.isdecimal() and rank != "0" and self._thread is None and sys.platform != "win32":
            arguments = (int(main), rank == "1")  # only one process prints the error
            self._thread = threading.Thread(target=self._watch, args=arguments, name="parent", daemon=True)
            self._thread.start()

    def set_over(self, over: bool) -> None:
        """Set whether the run has ended without an error, so that the main process may end first."""
        self._over = over

    def join(self, seconds: float) -> None:
        """Wait to be ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _watch(self, main: int, prints: bool) -> None:
        while os.getppid() == main:
            time.sleep(_POLL)
        if self._over:
            time.sleep(_GRACE)  # for remaining work
            exit_now(0)
        if prints:
            ERROR_PRINTER.print(f"the main process ({main}) ended without a message. All others end too.")
        exit_now(2)


PARENT = ParentWatch()
SIGNAL_GUARD = SignalGuard()
