"""Parsers that refuse in one sentence, where jsonargparse prints every flag there is."""

import difflib
import re
from typing import NoReturn

from jsonargparse import ArgumentParser

from vocseg.errors import UserError


class SentenceParser(ArgumentParser):
    """A parser whose errors are `UserError`s."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse.

        Raises:
            UserError: Always.
        """
        parser = getattr(ex, "subcommand_parser", None) or self
        raise UserError(_sentence(message, re.findall(r"--[\w.]+", parser.format_usage()))) from ex


def _sentence(message: str, flags: list[str]) -> str:
    """Jsonargparse's message on one line, with the flags that were perhaps meant."""
    text = " ".join(message.split())
    text = re.sub(r'Parser key "([\w.]+)":', r"--\1:", text)
    unknown = re.match(r"unrecognized arguments: (--[\w.]+)", text, re.IGNORECASE)
    near = difflib.get_close_matches(unknown[1], flags, n=2, cutoff=0.8) if unknown else []
    return text + (f"; do you mean {' or '.join(near)}?" if near else "; --help lists the flags")
