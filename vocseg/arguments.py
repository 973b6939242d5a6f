"""Parsers that refuse in one sentence, where jsonargparse prints every flag there is."""

import difflib
import inspect
import os
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader, set_parsing_settings

from vocseg.complaints import in_words
from vocseg.duplicates import check_document, read_document
from vocseg.errors import UserError, printable, shown

_MOST = 400  # characters of a complaint of jsonargparse

# What runs commands (os, subprocess, eval, ...) may not be named where a flag takes a function or a class.
# Newer releases of jsonargparse have the list; this turns its warnings into refusals.
if "import_path_denylist" in inspect.signature(set_parsing_settings).parameters:
    set_parsing_settings(import_path_denylist=[])


_load_yaml = get_loader("yaml")


def _load_checked(value: str) -> Any:
    """A value of a flag or a file, unless it stands for more than its reader can hold."""
    if "&" in value or value.count("[") + value.count("{") > 50:
        check_document(value, shown(value, 40))
    return _load_yaml(value)


set_loader("yaml", _load_checked, (yaml.YAMLError,))


class SentenceParser(ArgumentParser):
    """A parser whose errors are `UserError`s."""

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a file that `--config` names.

        Raises:
            UserError: If it is no plain file, no text, or says a thing twice or without end.
        """
        read_document(Path(os.fspath(path)), f"--config {shown(os.fspath(path), 300)}")
        parsed: Namespace = super().parse_path(path, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse.

        Raises:
            UserError: Always.
        """
        parser = getattr(ex, "subcommand_parser", None) or self
        raise UserError(_sentence(message, re.findall(r"--[\w.]+", parser.format_usage()))) from ex


def _sentence(message: str, flags: list[str]) -> str:
    """Jsonargparse's message on one line, with the flags that were perhaps meant."""
    text = re.sub(r'Parser key "([\w.]+)":', r"--\1:", printable(" ".join(message.split())))
    text = in_words(text)
    if len(text) > _MOST:  # it repeats what a file holds
        text = f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"
    unknown = re.match(r"unrecognized arguments: (--[\w.]+)", text, re.IGNORECASE)
    near = difflib.get_close_matches(unknown[1], flags, n=2, cutoff=0.8) if unknown else []
    return text + (f"; do you mean {' or '.join(near)}?" if near else "; --help lists the flags")


def flagged(words: list[str], name: str, tool: Callable[..., Any]) -> list[str]:
    """Words of a command line with a flag before the first, or if it is one for a list, all leading ones."""
    leading = list(takewhile(lambda word: not word.startswith("-"), words))
    leading = leading if name in _lists(tool) else leading[:1]
    return [*(f"--{name}={word}" for word in leading), *words[len(leading) :]]


def gathered(words: list[str], tool: Callable[..., Any]) -> list[str]:
    """Words of a command line in which a flag for a list may be given once for each of its values.

    Jsonargparse wants such flags to end in `+`; without it the last one alone would count.
    """
    lists = _lists(tool)
    flags = rf"(--(?:{'|'.join(lists)}))(?==|$)" if lists else "($^)"
    return [re.sub(f"^{flags}", r"\1+", word) for word in words]


def _lists(tool: Callable[..., Any]) -> list[str]:
    """The flags of a tool that take a list."""
    hints = get_type_hints(tool).items()
    return [name for name, hint in hints if any(get_origin(k) is list for k in (hint, *get_args(hint)))]
