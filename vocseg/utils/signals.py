"""Signal handling before and around a run."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
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
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


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


def end_with_main_process() -> None:
    """Let the system end this process when the main process of the run that started it ends.

    It is called before torch is imported, to cover a main process that is killed during start-up. Linux only.
    """
    main = os.environ.get(MAIN_PROCESS)
    if main is None or os.environ.get("LOCAL_RANK", "0") == "0" or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(main):  # it has ended already
        exit_now(2)


SIGNAL_GUARD = SignalGuard()
