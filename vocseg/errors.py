"""The exceptions that end a run with a sentence, and how text from outside is shown in it."""

import re
import signal
import sys
import threading

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


class Voice:
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


VOICE = Voice()


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
