"""The exceptions that end a run with a sentence, and how text from outside is shown in it."""

import codecs
import contextlib
import io
import os
import re
import signal
import sys
import threading
import unicodedata
from collections.abc import Sequence

_WRAPPED = "Caught UserError in "  # how torch begins what a loader process raised


class UserError(Exception):
    """Bad input: one sentence that names the file or flag, its value and the remedy.

    The command line prints the sentence and exits with code 2; every other exception keeps its traceback.
    """

    @property
    def sentence(self) -> str:
        """The message alone, on one line: torch wraps a loader process's traceback around it."""
        text = str(self)
        if text.startswith(_WRAPPED):
            text = re.split(r"(?m)^(?:\w+\.)*UserError: ", text)[-1]
        return printable(text.strip())


class Stopped(Exception):
    """A run was asked to stop, and did: one sentence that says what was saved and how to go on.

    Attributes:
        sentence: For the user.
        exit_code: 128 and the signal's number, as shells have it.
    """

    def __init__(self, sentence: str, exit_code: int) -> None:
        """Remember both."""
        super().__init__(sentence)
        self.sentence, self.exit_code = sentence, exit_code


class Interrupted(BaseException):
    """A signal asks the process to end, and nothing listens that could save its state first.

    No `Exception`, as nothing but what tidies up may catch it.

    Attributes:
        name: The signal's.
        exit_code: 128 and its number, as shells have it.
    """

    def __init__(self, number: int) -> None:
        """Remember the signal."""
        super().__init__(number)
        self.name, self.exit_code = signal.Signals(number).name, 128 + number


class ErrorPrinter:
    """Says one sentence for the process: whoever comes first, and whatever else goes wrong in its wake."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said = threading.Lock()

    def rest(self) -> None:
        """Begin anew."""
        if self._said.locked():
            self._said.release()

    def say(self, sentence: str) -> None:
        """Print the sentence, unless one was printed."""
        if self._said.acquire(blocking=False):
            print(f"vocseg: {sentence}", file=sys.stderr, flush=True)


ERROR_PRINTER = ErrorPrinter()


_ASCII = str.maketrans({
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\u2500\u2501\u2550", "-"),  # dashes and lines
    **dict.fromkeys("\u2502\u2503\u2551", "|"),
    **dict.fromkeys("\u2588\u2589\u258a\u258b\u258c\u258d\u258e\u258f", "#"),  # parts of bars
    **{"\u00d7": "x", "\u00b7": ".", "\u00b1": "+/-", "\u2192": "->", "\u2018": "'", "\u2019": "'"},
})  # fmt: skip


def plain_output() -> None:
    """Let tables come as ASCII where the terminal, or what is written to, takes no more than its encoding."""
    codecs.register_error("vocseg", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="vocseg")


def _in_ascii(fault: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding does not have."""
    assert isinstance(fault, UnicodeEncodeError)
    text = fault.object[fault.start : fault.end].translate(_ASCII)
    plain = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    return "".join(c if c.isascii() else "?" for c in kept), fault.end


def check_readable(words: Sequence[str]) -> None:
    """Refuse names in characters that the locale cannot tell: no library can write them.

    Raises:
        UserError: If a word, or the working folder, holds some.
    """
    with contextlib.suppress(OSError):  # a working folder that was removed
        words = [*words, os.getcwd()]
    for word in words:
        if any("\udc80" <= char <= "\udcff" for char in word):
            raise UserError(
                f"'{shown(word)}' has characters that are none in this terminal's encoding "
                f"({sys.getfilesystemencoding()}): set PYTHONUTF8=1 (or LC_ALL=C.UTF-8), or use another name"
            )


def printable(text: str) -> str:
    r"""Text in which whatever would steer a terminal is written out: names of files may hold anything.

    >>> printable("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown(value: object, most: int = 80) -> str:
    """A value from outside for a sentence: on one line, and never longer than it helps.

    Args:
        value: Text, or anything with few parts; of nested ones give a part.
        most: Characters.
    """
    text = value[: most + 1] if isinstance(value, str) else str(value)
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
