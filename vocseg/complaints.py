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


def in_words(text: str) -> str:
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
