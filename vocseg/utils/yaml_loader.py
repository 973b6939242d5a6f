"""YAML loading with limits and without duplicate keys."""

from pathlib import Path
from typing import Any

import yaml

from vocseg.errors import UserError
from vocseg.utils.regular_file import read_regular

_MAX_BYTES = 1 << 18  # of a file; a run's configuration has ten thousand
_MAX_ALIASES = 10  # which nested in each other may stand for 32 times as much as is written
_MAX_DEPTH = 50  # levels; a run's configuration has eight


def read_yaml(path: Path, what: str) -> Any:
    """Load a YAML file.

    Args:
        path: The file.
        what: Name of the file in error messages.

    Raises:
        UserError: If it cannot be read, is not YAML, or `check_document` rejects it.
    """
    text = read_document(path, what)
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML does not wrap errors of dates and numbers
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{what}: not YAML ({reason})") from error


def read_document(path: Path, what: str) -> str:
    """Read the text of a YAML file and check it with `check_document`.

    Raises:
        UserError: If it cannot be read, is not text, or is rejected.
    """
    try:
        text = read_regular(path, _MAX_BYTES)[0].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"{what}: cannot be read ({reason}). Give a YAML file.") from error
    check_document(text, what)
    return text


def check_document(text: str, what: str) -> None:
    """Reject YAML with duplicate keys, deep nesting or many aliases. Invalid YAML is left to its reader.

    Args:
        text: YAML.
        what: Name of the file in error messages.

    Raises:
        UserError: If the document is rejected.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader))
        if aliases > _MAX_ALIASES:
            raise UserError(f"{what}: has {aliases} aliases. Write out what they stand for.")
        root = yaml.compose(text, loader)
    except (yaml.YAMLError, ValueError):
        return
    except RecursionError:
        raise _too_deep(what) from None
    if root is not None:
        _check_keys(root, what, 0)


def _check_keys(node: yaml.Node, what: str, depth: int) -> None:
    if depth > _MAX_DEPTH:  # an alias that contains itself has no end
        raise _too_deep(what)
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_keys(child, what, depth + 1)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines:  # PyYAML would silently take the last value
            raise UserError(
                f"{what}: line {line} repeats '{key.value}' of line {lines[name]}. Keep one of them."
            )
        lines[name] = line
        _check_keys(key, what, depth + 1)
        _check_keys(value, what, depth + 1)


def _too_deep(what: str) -> UserError:
    return UserError(f"{what}: is nested deeper than {_MAX_DEPTH} levels. Make it flatter.")
