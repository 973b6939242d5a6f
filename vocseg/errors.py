"""Exceptions that end a run with one sentence, and escaping of external text in it."""

import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence

_WORKER_PREFIX = "Caught UserError in "  # torch's, before the traceback of a DataLoader worker


class UserError(Exception):
    """Invalid input: one sentence with the file or flag, its value and the remedy.

    The command line prints the sentence and exits with code 2. Every other exception keeps its traceback.
    """

    @property
    def sentence(self) -> str:
        """The message on one line, without the traceback that torch adds in a DataLoader worker."""
        text = str(self)
        if text.startswith(_WORKER_PREFIX):
            text = re.split(r"(?m)^(?:\w+\.)*UserError: ", text)[-1]
        return printable(text.strip())


class Stopped(Exception):
    """A run that stopped on request: what was saved, and 128 plus the signal's number, as in shells."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.sentence, self.exit_code = sentence, exit_code


class Interrupted(BaseException):
    """A signal that ends the process while there is no state to save.

    It is not an `Exception`, so that only clean-up code catches it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name, self.exit_code = signal.Signals(number).name, 128 + number


def raise_worker_failure(error: BaseException) -> None:
    """Raise `error` again if torch's handler of SIGCHLD raised it: a DataLoader worker has ended.

    Any statement of the main process can raise it. A handler of all errors must not take it for its own.
    """
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        raise error


class ErrorPrinter:
    """Prints the first error of the process, and none of those that follow from it."""

    def __init__(self) -> None:
        self._printed = threading.Lock()

    def reset(self) -> None:
        """Allow one more error."""
        if self._printed.locked():
            self._printed.release()

    def print(self, sentence: str) -> None:
        """Print the sentence, unless one was printed."""
        if self._printed.acquire(blocking=False):
            print(f"vocseg: {sentence}", file=sys.stderr, flush=True)


ERROR_PRINTER = ErrorPrinter()


def plain_output() -> None:
    """Print `?` for characters that the encoding of stdout or stderr lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


def check_readable(words: Sequence[str]) -> None:
    """Raise a `UserError` unless arguments and working directory are valid in the locale's encoding."""
    with contextlib.suppress(OSError):  # the working directory was removed
        words = [*words, os.getcwd()]
    for word in words:
        if any("\udc80" <= char <= "\udcff" for char in word):
            raise UserError(
                f"'{shown(word)}' has characters that are invalid in this terminal's encoding "
                f"({sys.getfilesystemencoding()}). Set PYTHONUTF8=1 (or LC_ALL=C.UTF-8), or use another name."
            )


def printable(text: str) -> str:
    r"""Escape non-printable characters, which could control a terminal.

    >>> printable("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown(value: object, most: int = 80) -> str:
    """Escape and shorten an external value, with a short `str`, for a message."""
    text = value[: most + 1] if isinstance(value, str) else str(value)
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names and the number of others: `a, b, c and 7 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
