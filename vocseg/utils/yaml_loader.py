"""YAML loading that refuses duplicate keys."""

from pathlib import Path
from typing import Any

import yaml

from vocseg.errors import UserError
from vocseg.utils.regular_file import read_regular

_MOST_BYTES = 1 << 18  # of a file; settings of a run have ten thousand
_MOST_EXPANDED = 1 << 19  # characters and nodes, with every alias replaced by what it stands for
_DEEPEST = 50  # levels; settings of a run have eight


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file.

    Args:
        path: The file.
        what: How a sentence should name it.

    Raises:
        UserError: If it cannot be read, is no YAML, or is refused by `check_document`.
    """
    text = read_document(path, what)
    try:
        return yaml.safe_load(text)
    except Exception as fault:  # beside its own errors, PyYAML lets those of dates and numbers through
        said = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise UserError(f"{what}: not YAML ({said})") from fault


def read_document(path: Path, what: str) -> str:
    """The text of a YAML file that `check_document` has looked at.

    Raises:
        UserError: If it cannot be read, is no text, or is refused.
    """
    try:
        text = read_regular(path, _MOST_BYTES)[0].decode("utf-8-sig")
    except OSError as fault:
        raise UserError(f"{what}: cannot be read ({fault.strerror}); name a YAML file") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"{what}: is no text; name a YAML file") from fault
    check_document(text, what)
    return text


def check_document(text: str, what: str) -> None:
    """Refuse YAML that says a thing twice, or that stands for more than its reader can hold.

    A reader would quietly take the last of two values. Few bytes with aliases may stand for endlessly many:
    nine levels of nine aliases are 400 million values. Text that is no YAML is left to its reader.

    Args:
        text: YAML.
        what: The file, as a sentence should name it.

    Raises:
        UserError: If so.
    """
    try:
        root = yaml.compose(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError):
        return
    except RecursionError as fault:
        raise UserError(f"{what}: is nested deeper than {_DEEPEST} levels; make it flatter") from fault
    if root is not None:
        _check_node(root, what)


def _check_node(root: yaml.Node, what: str) -> None:
    """Size and depth of each node, the inner ones first."""
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    begun: set[int] = set()
    todo = [root]
    while todo:
        node = todo[-1]
        within = [] if id(node) in sizes else _children(node)
        waiting = [child for child in within if id(child) not in sizes]
        if id(node) in sizes:
            todo.pop()
            continue
        if id(node) not in begun:
            begun.add(id(node))
            _check_keys(node, what)
            todo += waiting
            continue
        if waiting:
            raise UserError(f"{what}: an alias stands for itself; write out what is meant")
        todo.pop()
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in within)
        sizes[id(node)] += len(node.value) if isinstance(node.value, str) else 0
        depths[id(node)] = 1 + max((depths[id(child)] for child in within), default=0)
        if depths[id(node)] > _DEEPEST:
            raise UserError(f"{what}: is nested deeper than {_DEEPEST} levels; make it flatter")
        if sizes[id(node)] > _MOST_EXPANDED:
            raise UserError(
                f"{what}: its aliases stand for more than settings can be; write out what is meant"
            )


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else []


def _check_keys(node: yaml.Node, what: str) -> None:
    """Refuse a key that occurs twice in one mapping."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines:
            raise UserError(
                f"{what}: line {line} gives '{key.value}' again, after line {lines[name]}: keep one of them"
            )
        lines[name] = line
