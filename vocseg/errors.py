"""The exceptions that end a run with a sentence instead of a traceback."""

import re
import sys
import threading


class UserError(Exception):
    """Bad input: one sentence that names the file or flag, its value and the remedy.

    The command line prints the sentence and exits with code 2; every other exception keeps its traceback.
    """

    @property
    def sentence(self) -> str:
        """The message alone: torch wraps a loader process's traceback around it."""
        return re.split(r"\bUserError: ", str(self))[-1].strip()


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
