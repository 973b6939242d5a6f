"""The one exception that a user may cause."""

import re


class UserError(Exception):
    """Bad input: one sentence that names the file or flag, its value and the remedy.

    The command line prints the sentence and exits with code 2; every other exception keeps its traceback.
    """

    @property
    def sentence(self) -> str:
        """The message alone: torch wraps a loader process's traceback around it."""
        return re.split(r"\bUserError: ", str(self))[-1].strip()
