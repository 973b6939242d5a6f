"""What a verb scored, as JSON: in a file, or alone on standard output."""

import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from vocseg.errors import UserError
from vocseg.scores.plain import STDOUT, as_json
from vocseg.whole_files import write_whole


def add_json_flag(parser: Any) -> None:
    """Add `--json` to a parser."""
    parser.add_argument(
        "--json",
        type=Path | None,
        default=None,
        help="File to write all scores to that are shown, with intervals and protocol (predict: the area "
        "of each class in each image); "
        "`-`: standard output, and all else goes to standard error.",
    )


class JsonOutput(ExitStack):
    """Keeps standard output free for JSON while it is open, if that is where JSON goes."""

    def __init__(self) -> None:
        """Nothing is diverted yet."""
        super().__init__()
        self._path: Path | None = None

    def open(self, path: Path | None) -> None:
        """Say where JSON goes; tables, bars and notices move out of its way.

        Args:
            path: A file, or `-`; None: there is none.

        Raises:
            UserError: If the file cannot be there.
        """
        self._path = path
        if path is None:
            return
        if path == STDOUT:
            self.enter_context(redirect_stdout(sys.stderr))
        elif path.is_dir() or not next(k for k in path.absolute().parents if k.exists()).is_dir():
            raise UserError(
                f"--json {path} cannot be written, as there is something in its way: name another"
            )

    def write(self, trainer: Any) -> None:
        """Write what was scored, on the main process.

        Raises:
            UserError: If the file cannot be written.
        """
        if self._path is None or not trainer.is_global_zero:
            return
        text = as_json(trainer.figures)
        if self._path == STDOUT:
            print(text)
            return
        try:
            write_whole(self._path, text + "\n")
        except OSError as fault:
            raise UserError(
                f"--json {self._path} cannot be written ({fault.strerror}): name another file"
            ) from fault
