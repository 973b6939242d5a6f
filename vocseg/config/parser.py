"""Command-line parser: recipes by name, lists from repeated flags, readable errors."""

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

from vocseg.errors import UserError, printable, shown
from vocseg.utils.yaml_loader import check_document, read_document

_NAMES = {
    "bool": "true, false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "NoneType": "null",
    "PositiveInt": "a whole number from 1",
    "NonNegativeInt": "a whole number from 0",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number from 0",
    "OpenUnitInterval": "a number between 0 and 1",
    "ClosedUnitInterval": "a number from 0 to 1",
    "Path": "a path",
    "list": "a list, such as [a, b]",
    "Sequence": "a list, such as [a, b]",
}
_TYPES = r"(?:<class '[\w.]+'>|[\w.]*Literal\[[^\]]*\]|[\w.]+)"
_COMPLAINTS = (
    r"(--[\w.+]+): Does not validate against any of the Union subtypes "
    rf"Subtypes: \[(?P<types>{_TYPES}(?:, {_TYPES})*)\] Errors: .* Given value: (?P<value>.*)",
    rf"(--[\w.+]+): Expected a (?P<types>{_TYPES})\. Got value: (?P<value>.*)",
    r"(--[\w.+]+): Not of type (?P<types>\w+): (?P<value>.*) does not conform to restriction .*",
    r"(--[\w.+]+): Not of type (?P<types>\w+): (?:invalid literal|could not convert)[^:]*: '(?P<value>.*)'",
)
_OF_CLASSES = (  # what is said of a flag that takes a class, and what is meant
    (
        r"(--[\w.+]+): .*Expected a dot import path string: (\S+) - .*",
        r"\1 \2: no class of Lightning's has that name; others are named as package.module.Class",
    ),
    (
        r"(--[\w.+]+): .*Import path does not correspond to a subclass of (\w+) .*Given value: (\S+).*",
        r"\1 \3: that is no \2",
    ),
    (r"(--[\w.+]+): .*Problem with given class_path '([\w.]+)': (No module named '[\w.]+').*", r"\1 \2: \3"),
    (
        r"(--[\w.+]+): .*arguments are required: (\w+)[\w, ]*; .*class_path='[\w.]*?(\w+)'.*",
        r"\1: \3 needs \1.\2",
    ),
    (r"(--[\w.+]+): .*Errors: - Option '(\w+)' is not accepted; .*", r"\1.\2: the class has no such setting"),
    (r"(--[\w.+]+): .*Errors: - --([\w.]+:? .*?); --help .*", r"\1.\2"),
)


def friendly_parse_error(text: str) -> str:
    """A complaint, reworded if it is one about a value whose type has a name.

    Args:
        text: On one line, with `--flag:` in front of what is said of it.
    """
    for said, meant in _OF_CLASSES:
        if found := re.fullmatch(said, text):
            return found.expand(meant)
    for complaint in _COMPLAINTS:
        if found := re.search(complaint + "$", text):
            names = _named(re.findall(_TYPES, found["types"]))
            if names:
                return f"{text[: found.start()]}{found[1]} {found['value']}: give {names}"
    return text


def _named(types: list[str]) -> str | None:
    """All that may be given; None: not all of it has a name."""
    words: list[str] = []
    for each in types:
        if "Literal[" in each:
            words += [value.strip("'\" ") for value in each[each.index("[") + 1 : -1].split(",")]
        elif name := _NAMES.get(re.sub(r"<class '|'>", "", each).rpartition(".")[2]):
            words += [name] if name.startswith("a list") else name.split(", ")
        else:
            return None
    if "a number" in words:
        words = [word for word in words if word != "a whole number"]
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


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


class Parser(ArgumentParser):
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
    text = friendly_parse_error(text)
    if len(text) > _MOST:  # it repeats what a file holds
        text = f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"
    unknown = re.match(r"unrecognized arguments: (--[\w.]+)", text, re.IGNORECASE)
    near = difflib.get_close_matches(unknown[1], flags, n=2, cutoff=0.8) if unknown else []
    return text + (f"; do you mean {' or '.join(near)}?" if near else "; --help lists the flags")


def positional_to_flag(words: list[str], names: Sequence[str], tool: Callable[..., Any]) -> list[str]:
    """Words of a command line with flags before the leading ones.

    Args:
        words: Of the command line.
        names: Flags in order; one that takes a list gets all leading words.
        tool: What takes the flags.
    """
    leading = list(takewhile(lambda word: not word.startswith("-"), words))
    flags = [*names] * len(leading) if names[0] in _lists(tool) else names
    named = [f"--{name}={word}" for name, word in zip(flags, leading, strict=False)]
    return [*named, *words[len(named) :]]


def append_list_flags(words: list[str], tool: Callable[..., Any]) -> list[str]:
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


RECIPES = Path(__file__).parent.parent / "recipes"


class RecipeFile(ActionConfigFile):
    """`--config NAME` for a packaged recipe, or a file of one's own; several compose from left to right."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Turn a name into its file.

        Raises:
            UserError: If it is neither a recipe nor a file, or says a thing twice.
        """
        recipe = RECIPES / f"{values}.yaml"
        if os.path.isfile(recipe):
            values = str(recipe)
        elif isinstance(values, str) and not os.path.isfile(values):
            names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise UserError(f"--config {shown(values)}: neither a file nor a recipe; the recipes are {names}")
        try:
            super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]
        except UserError as fault:
            if fault.sentence.startswith("--config "):
                raise
            raise UserError(f"--config {shown(values)}: {fault.sentence}") from fault
        except (ValueError, AttributeError, RecursionError) as fault:  # PyYAML lets them through
            raise UserError(f"--config {shown(values)}: no YAML ({shown(fault)})") from fault
