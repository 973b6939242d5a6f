"""YAML loading with limits and without duplicate keys."""

from pathlib import Path
from typing import Any

import yaml

from vocseg.errors import UserError
from vocseg.utils.regular_file import read_regular

_MAX_BYTES = 1 << 18  # of a file; a run's configuration has ten thousand
_MAX_EXPANDED = 1 << 19  # characters and nodes after expansion of aliases
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
    except OSError as error:
        raise UserError(f"{what}: cannot be read ({error.strerror}). Give a YAML file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: is not text. Give a YAML file.") from error
    check_document(text, what)
    return text


def check_document(text: str, what: str) -> None:
    """Reject YAML with duplicate keys, deep nesting or excessive aliases. Invalid YAML is left to its reader.

    Args:
        text: YAML.
        what: Name of the file in error messages.

    Raises:
        UserError: If the document is rejected.
    """
    try:
        root = yaml.compose(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError):
        return
    except RecursionError as error:
        raise _too_deep(what) from error
    if root is not None:
        _measure(root, what, {}, set())


def _measure(
    node: yaml.Node, what: str, measured: dict[int, tuple[int, int]], open_: set[int]
) -> tuple[int, int]:
    """Return expanded size and depth. Each node is visited once, however many aliases it has."""
    if id(node) in measured:
        return measured[id(node)]
    if id(node) in open_:
        raise UserError(f"{what}: an alias contains itself. Write out what is meant.")
    if len(open_) >= _MAX_DEPTH:
        raise _too_deep(what)
    open_.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, what)
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    children = (
        node.value if isinstance(node, yaml.SequenceNode) else [each for pair in pairs for each in pair]
    )
    parts = [_measure(child, what, measured, open_) for child in children]
    size = 1 + sum(part[0] for part in parts) + (len(node.value) if isinstance(node.value, str) else 0)
    depth = 1 + max((part[1] for part in parts), default=0)
    if depth > _MAX_DEPTH:
        raise _too_deep(what)
    if size > _MAX_EXPANDED:
        raise UserError(
            f"{what}: its aliases expand to more than {_MAX_EXPANDED:,} characters. Write them out."
        )
    open_.remove(id(node))
    measured[id(node)] = size, depth
    return size, depth


def _too_deep(what: str) -> UserError:
    return UserError(f"{what}: is nested deeper than {_MAX_DEPTH} levels. Make it flatter.")


def _check_keys(node: yaml.MappingNode, what: str) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines:  # PyYAML would silently take the last value
            raise UserError(
                f"{what}: line {line} repeats '{key.value}' of line {lines[name]}. Keep one of them."
            )
        lines[name] = line
