"""Command-line parser with recipes by name, lists from repeated flags, types in words and one-line errors."""

import difflib
import inspect
import os
import re
from argparse import Action
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentParser,
    DefaultHelpFormatter,
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


_NAMES = {
    "NoneType": "null",
    "bool": "true or false",
    "Path": "path",
    "PositiveInt": "int from 1",
    "NonNegativeInt": "int from 0",
    "PositiveFloat": "float above 0",
    "NonNegativeFloat": "float from 0",
    "ClosedUnitInterval": "0 to 1",
    "OpenUnitInterval": "between 0 and 1",
    "str": "text",
}


def type_in_words(hint: Any) -> str | None:
    """Text for a type hint, such as `int or null`; None where the library's own text is to be used."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return ", ".join(map(str, parts))
    if kind in (Union, UnionType):
        words = [type_in_words(part) for part in parts]
        return None if None in words else " or ".join(dict.fromkeys(filter(None, words)))
    if kind in (list, tuple, Iterable, Sequence):
        words = [type_in_words(part) for part in parts if part is not ...]
        return None if None in words else f"list of {' and '.join(dict.fromkeys(filter(None, words)))}"
    if hint is NoneType or isinstance(hint, type):
        return _NAMES.get(hint.__name__, hint.__name__)
    return None


class HelpFormatter(DefaultHelpFormatter):
    """jsonargparse's formatter with types in words, and without the `+` that repeated flags get."""

    def _get_type_str(self, action: Action) -> str | None:
        return type_in_words(getattr(action, "_typehint", None)) or super()._get_type_str(action)

    def _format_action_invocation(self, action: Action) -> str:
        text = super()._format_action_invocation(action)
        return re.sub(r", --[\w.]+\+( \S+)?", "", text)


class Parser(ArgumentParser):
    """A parser whose errors are `UserError`s, with types in words in its help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a file given by `--config`. A `UserError` reports what is not a valid text file."""
        read_document(Path(os.fspath(path)), f"--config {shown(os.fspath(path), 300)}")
        parsed: Namespace = super().parse_path(path, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise an error of jsonargparse as a `UserError`.

        The message for a value of a wrong type is built anew from the flag, its type and the reason.
        """
        parser: Parser = getattr(ex, "subcommand_parser", None) or self
        flag = message.split('"')[1] if message.startswith('Parser key "') else None
        action = next((each for each in parser._actions if each.dest == flag), None)
        if ex is not None and flag is not None:
            reason, wanted = _first_cause(ex), type_in_words(getattr(action, "_typehint", None))
            text = str(reason).replace("<class '", "").replace("'>", "")
            remedy = f". Give {wanted}." if wanted and not isinstance(reason, UserError) else ""
            message = f"--{flag}: {text}{remedy}"
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
