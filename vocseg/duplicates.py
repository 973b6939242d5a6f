"""YAML that says a thing twice: its readers would quietly take the last."""

from typing import TYPE_CHECKING

from vocseg.errors import UserError

if TYPE_CHECKING:
    import yaml


def refuse_duplicate_keys(text: str, what: str) -> None:
    """Look for a key that occurs twice in one mapping; text that is no YAML is left to its reader.

    Args:
        text: YAML.
        what: The file, as a sentence should name it.

    Raises:
        UserError: If there is one.
    """
    import yaml

    try:
        todo = [yaml.compose(text, yaml.SafeLoader)]
    except (yaml.YAMLError, RecursionError):
        return
    seen: set[int] = set()  # an anchor may be met twice, or hold itself
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += [value for _, value in node.value]
            _check(node, what)


def _check(mapping: "yaml.MappingNode", what: str) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines:
            raise UserError(
                f"{what}: line {line} gives '{key.value}' again, after line {lines[name]}: keep one of them"
            )
        lines[name] = line
