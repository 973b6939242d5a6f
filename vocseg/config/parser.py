"""Command-line parser with recipes by name, lists from repeated flags and one-line errors."""

import difflib
import inspect
import os
import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentParser,
    Namespace,
    get_loader,
    set_loader,
    set_parsing_settings,
)

from vocseg.errors import UserError, shown
from vocseg.utils.yaml_loader import check_document, read_document

RECIPES = Path(__file__).parent.parent / "recipes"
_MAX_CHARS = 400  # of an error: jsonargparse repeats what a file contains

# Newer releases of jsonargparse warn if a flag takes an import path that runs commands (os, subprocess, ...).
# This turns the warnings into errors.
if "import_path_denylist" in inspect.signature(set_parsing_settings).parameters:
    set_parsing_settings(import_path_denylist=[])


_load_yaml = get_loader("yaml")


def _load_checked(value: str) -> Any:
    if "&" in value or value.count("[") + value.count("{") > 50:
        check_document(value, shown(value, 40))
    return _load_yaml(value)


set_loader("yaml", _load_checked, (yaml.YAMLError,))


class Parser(ArgumentParser):
    """A parser whose errors are `UserError`s."""

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a file given by `--config`. A `UserError` reports what is no valid text file."""
        read_document(Path(os.fspath(path)), f"--config {shown(os.fspath(path), 300)}")
        parsed: Namespace = super().parse_path(path, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise an error of jsonargparse as a `UserError` with the flag and the first cause."""
        parser: Parser = getattr(ex, "subcommand_parser", None) or self
        if ex is not None and message.startswith('Parser key "'):
            flag = message.split('"')[1]
            text = str(_first_cause(ex)).replace("<class '", "").replace("'>", "")
            message = f"--{flag}: {text}"
        raise UserError(shown(" ".join(message.split()), _MAX_CHARS) + parser._hint(message)) from ex

    def _hint(self, message: str) -> str:
        """Similar flags, or a remedy, if a message is about an unknown flag."""
        word = next((word for word in message.split() if word.startswith("--")), "")
        flag, flags = word.partition("=")[0].rstrip(":"), [*self._option_string_actions]
        if not flag or message.startswith("--") or flag in flags:
            return ""
        near = difflib.get_close_matches(flag, flags, n=2, cutoff=0.8)
        return f"; do you mean {' or '.join(near)}?" if near else "; --help lists the flags"


def _first_cause(error: BaseException) -> BaseException:
    """The cause of an error of jsonargparse; of a flag with several types, the error of the first."""
    while isinstance(error.__cause__, ValueError | UserError) and not isinstance(error, UserError):
        error = error.__cause__
    return error


def positional_to_flag(words: list[str], names: Sequence[str], tool: Callable[..., Any]) -> list[str]:
    """Give the leading words of a command line their flags. A first flag for a list gets them all."""
    leading = list(takewhile(lambda word: not word.startswith("-"), words))
    flags = [*names] * len(leading) if names[0] in _list_flags(tool) else names
    named = [f"--{name}={word}" for name, word in zip(flags, leading, strict=False)]
    return [*named, *words[len(named) :]]


def append_list_flags(words: list[str], tool: Callable[..., Any]) -> list[str]:
    """Append `+` to flags that take a list, so that repeated flags add values as jsonargparse defines it."""
    lists = _list_flags(tool)
    flags = rf"(--(?:{'|'.join(lists)}))(?==|$)" if lists else "($^)"
    return [re.sub(f"^{flags}", r"\1+", word) for word in words]


def complete_switches(words: list[str], tool: Callable[..., Any]) -> list[str]:
    """Give flags of type bool that stand alone the value true."""
    switches = {f"--{name}" for name, hint in get_type_hints(tool).items() if hint is bool}
    return [
        f"{word}=true" if word in switches and after.startswith("-") else word
        for word, after in zip(words, [*words[1:], "-"], strict=False)  # "-": the end
    ]


def _list_flags(tool: Callable[..., Any]) -> list[str]:
    hints = get_type_hints(tool).items()
    return [name for name, hint in hints if any(get_origin(k) is list for k in (hint, *get_args(hint)))]


class RecipeFile(ActionConfigFile):
    """`--config` that takes a packaged recipe's name or a file. Several compose from left to right."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Parse the recipe or the file, or raise a `UserError`."""
        recipe = RECIPES / f"{values}.yaml"
        if os.path.isfile(recipe):
            values = str(recipe)
        elif isinstance(values, str) and not os.path.isfile(values):
            names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise UserError(f"--config {shown(values)}: neither a file nor a recipe; the recipes are {names}")
        try:
            super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]
        except UserError as error:
            if error.sentence.startswith("--config "):
                raise
            raise UserError(f"--config {shown(values)}: {error.sentence}") from error
        except (ValueError, AttributeError, RecursionError) as error:  # not caught by PyYAML
            raise UserError(f"--config {shown(values)}: not YAML ({shown(error)})") from error
