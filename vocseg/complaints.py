"""jsonargparse's complaints about a value in plain words: what was given, and what may be."""

import re

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


def in_words(text: str) -> str:
    """A complaint, reworded if it is one about a value whose type has a name.

    Args:
        text: On one line, with `--flag:` in front of what is said of it.
    """
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
