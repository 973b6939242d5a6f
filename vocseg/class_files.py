"""Lists of classes that a user writes, as text or as YAML."""

import reprlib
from pathlib import Path
from typing import Any

from vocseg.classes import ClassList, Colour, named_classes
from vocseg.duplicates import check_document
from vocseg.errors import UserError, shown
from vocseg.plain_files import read_plain
from vocseg.voc import CLASSES, IGNORE_INDEX, PALETTE

_MOST_BYTES = 1 << 17  # of a file: 255 classes with all that may be said of them take less
_MOST_CHARACTERS = 100  # of a name, which has to fit into tables


def read_classes(path: Path) -> ClassList:
    """Read a class list.

    A text file has one name a line; the line number, from 0, is the value in the masks. A YAML file has a
    list `classes` of names, or of `name` with an optional `colour` ([r, g, b]) and an optional `merge`: the
    VOC classes (names) or mask values (numbers) that make it up. Once anything is merged, a class without
    `merge` is VOC's class of that name, and `others` says what the rest becomes: `background` (the first
    class) or `void`.

    Raises:
        UserError: If the file is missing, or says something impossible.
    """
    text = _text(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(text, path)
    return _checked(named_classes([line.strip() for line in text.splitlines() if line.strip()]), path)


def _text(path: Path) -> str:
    """What the file holds."""
    try:
        return read_plain(path, _MOST_BYTES)[0].decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"the class list {shown(path, 300)} does not exist") from None
    except OSError as fault:
        raise UserError(f"the class list {shown(path, 300)}: cannot be read ({fault.strerror})") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"the class list {path}: cannot be read (it is not UTF-8)") from fault


def _from_yaml(text: str, path: Path) -> ClassList:
    import yaml

    check_document(text, f"the class list {path}")
    try:
        content = yaml.safe_load(text)
    except Exception as fault:  # beside its own errors, PyYAML lets those of dates, numbers and depth through
        said = " ".join(str(fault).split()) or type(fault).__name__
        raise UserError(f"the class list {path}: not YAML ({shown(said, 200)})") from fault
    if isinstance(content, list):
        content = {"classes": content}
    unknown = set(content) - {"classes", "others"} if isinstance(content, dict) else {"no mapping"}
    if unknown or not isinstance(content.get("classes"), list):
        raise UserError(
            f"the class list {path}: wants a list `classes` and, for merges, `others`; see README"
        )
    _check_count(len(content["classes"]), path)  # before a colour is looked up for each
    entries = [_entry(each, path) for each in content["classes"]]
    if not any("merge" in entry for entry in entries):
        if "others" in content:
            raise UserError(f"the class list {path}: `others` means nothing where no class has `merge`")
        return _checked(_coloured(entries, tuple((k,) for k in range(len(entries))), ()), path)
    return _checked(_merged(entries, content.get("others", "background"), path), path)


def _entry(entry: Any, path: Path) -> dict[str, Any]:
    """One class of the YAML file as a mapping with the key `name`."""
    entry = {"name": entry} if isinstance(entry, str) else entry
    good = isinstance(entry, dict) and isinstance(entry.get("name"), str)
    if not good or set(entry) - {"name", "colour", "merge"}:
        raise UserError(
            f"the class list {path}: a class is a name, or has the keys name, colour, merge; not "
            f"{_brief(entry)}"
        )
    colour = entry.get("colour", [0, 0, 0])
    whole = isinstance(colour, list) and len(colour) == 3 and all(type(c) is int for c in colour)
    if not whole or not all(0 <= c <= 255 for c in colour):
        raise UserError(
            f"the class list {path}: the colour of '{shown(entry['name'])}' is {_brief(colour)}, not "
            "[red, green, blue], each 0..255"
        )
    return dict(entry)


def _merged(entries: list[dict[str, Any]], others: str, path: Path) -> ClassList:
    """Classes made of VOC's."""
    values = tuple(_values(entry, path) for entry in entries)
    named = {value for group in values for value in group}
    rest = tuple(k for k in range(len(CLASSES)) if k not in named)
    if others not in ("background", "void"):
        raise UserError(f"the class list {path}: `others` is {_brief(others)}; it may be background or void")
    if others == "background" and values:
        return _coloured(entries, (values[0] + rest, *values[1:]), ())
    return _coloured(entries, values, rest)


def _values(entry: dict[str, Any], path: Path) -> tuple[int, ...]:
    """The mask values that make a class up."""
    parts = entry.get("merge", [entry["name"]])
    parts = parts if isinstance(parts, list) else [parts]
    for part in parts:
        if part not in CLASSES and not (type(part) is int and 0 <= part < IGNORE_INDEX):
            raise UserError(
                f"the class list {path}: '{shown(entry['name'])}' wants {_brief(part)}, which is neither a "
                f"VOC class nor a mask value 0..{IGNORE_INDEX - 1}; VOC's classes are {', '.join(CLASSES)}"
            )
    return tuple(CLASSES.index(part) if part in CLASSES else int(part) for part in parts)


def _coloured(
    entries: list[dict[str, Any]], values: tuple[tuple[int, ...], ...], void: tuple[int, ...]
) -> ClassList:
    colours = tuple(_colour(entry, group) for entry, group in zip(entries, values, strict=True))
    return ClassList(tuple(entry["name"] for entry in entries), colours, values, void)


def _colour(entry: dict[str, Any], values: tuple[int, ...]) -> Colour:
    """The colour a class is given, or VOC's of the first value that it stands for."""
    if "colour" not in entry:
        return PALETTE[values[0] if values else 0]
    red, green, blue = entry["colour"]
    return red, green, blue


def _check_count(classes: int, path: Path) -> None:
    if not 2 <= classes <= IGNORE_INDEX:
        raise UserError(f"the class list {path}: names {classes} classes; it takes 2 to {IGNORE_INDEX}")


def _brief(value: Any) -> str:
    """A value as the file has it, for a sentence: few bytes of YAML may stand for endlessly many."""
    return shown(reprlib.repr(value))


def _checked(classes: ClassList, path: Path) -> ClassList:
    """The same list, if a network can learn it.

    Raises:
        UserError: If it is too short or too long, a name cannot be shown, a name or a mask value occurs
            twice, or a class has no mask value.
    """
    for name in classes.names:
        if not name.strip() or not name.isprintable() or len(name) > _MOST_CHARACTERS:
            raise UserError(
                f"the class list {path}: the name '{shown(name, 40)}' is empty, longer than "
                f"{_MOST_CHARACTERS} characters, or has some that cannot be shown: give the class another"
            )
    _check_count(len(classes), path)
    for what, all_of in (
        ("the class", list(classes.names)),
        ("the mask value", [value for group in classes.values for value in group]),
    ):
        twice = next((each for k, each in enumerate(all_of) if each in all_of[:k]), None)
        if twice is not None:
            raise UserError(f"the class list {path}: {what} '{twice}' occurs twice")
    if () in classes.values:
        name = classes.names[classes.values.index(())]
        raise UserError(
            f"the class list {path}: '{name}' merges nothing: name what makes it up, or leave it out"
        )
    return classes
