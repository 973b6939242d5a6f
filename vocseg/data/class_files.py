"""Class lists in text, YAML and the formats of labelling tools."""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.data.classes import VOC_CLASSES, ClassList, Colour, named_classes
from vocseg.errors import UserError, shown
from vocseg.utils.regular_file import read_regular
from vocseg.utils.yaml_loader import check_document

_MOST_BYTES = 1 << 17  # of a file: 255 classes with all keys take less
_MOST_CHARACTERS = 100  # of a name, for tables
_LARGEST = 255  # value of a mask
_LABELMAP = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3}):[^:]*:[^:]*")  # CVAT: name:r,g,b:parts:actions

_REPORTED: set[Path] = set()  # lists of one class


def known_classes(path: Path | None, mask_values: Sequence[int] | None = None) -> ClassList:
    """Read the user's class list, or return VOC's; errors as of `read_classes`."""
    if path is not None:
        return read_classes(path, mask_values)
    if mask_values is not None:
        raise UserError(
            f"--data.mask_values {list(mask_values)}: has no effect on VOC's classes. Give the class list "
            "with --data.classes"
        )
    return VOC_CLASSES


def read_classes(path: Path, mask_values: Sequence[int] | None = None) -> ClassList:
    """Read a class list.

    A text file has one name a line; the line number, from 0, is the mask value. A YAML file has a list
    `classes` of names, or of mappings with `name` and optionally `colour` ([r, g, b]), `value` (the mask
    value; default: the position in the list) or `merge` (VOC class names or mask values that the class
    consists of). If any class has `merge`, one without is VOC's class of that name, and `others` is the class
    of the rest: `background` (the first class) or `void`. Where every class but the first has a colour, masks
    may be RGB images in these colours. CVAT's `labelmap.txt` and Roboflow's `_classes.csv` are read too.
    `background` is put before a single name.

    Args:
        path: Of the file.
        mask_values: Mask value of each class, in the order of the list; None: as in the file.

    Raises:
        UserError: If the file is missing or invalid.
    """
    try:
        text = read_regular(path, _MOST_BYTES)[0].decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"the class list {shown(path, 300)} does not exist") from None
    except OSError as error:
        raise UserError(f"the class list {shown(path, 300)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the class list {path}: cannot be read (it is not UTF-8)") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        classes = _from_yaml(text, path)
    else:
        classes = _from_entries(_rows(text, path), path)
    return classes if mask_values is None else _with_values(classes, mask_values, path)


def class_text(names: Sequence[str], source: Path) -> str:
    """Return a class list as YAML, for masks that hold the positions of the names, the background's first.

    Raises:
        UserError: If there are too few or too many, or one cannot be printed.
    """
    import yaml

    _check_count(len(names), source)
    _checked(named_classes(names), source)
    return yaml.safe_dump({"classes": list(names)}, allow_unicode=True)


def _rows(text: str, path: Path) -> list[dict[str, Any]]:
    """Entries of a text file, as from YAML: plain names, or an export of CVAT or Roboflow."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix.lower() == ".csv":
        return [_csv_row(line, path) for line in lines[1:]]
    found = [_LABELMAP.fullmatch(line) for line in lines if not line.startswith("#")]
    if lines and all(found):
        groups = [match.groups() for match in found if match is not None]
        return [_entry({"name": name, "colour": [*map(int, colour)]}, path) for name, *colour in groups]
    return [{"name": line} for line in lines]


def _csv_row(line: str, path: Path) -> dict[str, Any]:
    """A line of Roboflow's `_classes.csv`: a mask value and a name."""
    value, _, name = line.partition(",")
    if not value.strip().isdecimal():
        raise UserError(
            f"the class list {path}: the line '{shown(line, 40)}' is no mask value and name, joined by a "
            "comma: write lines such as `1, cat` below the title line, or give a .txt or .yaml file"
        )
    return _entry({"name": name.strip(), "value": int(value[:6])}, path)


def _from_yaml(text: str, path: Path) -> ClassList:
    import yaml

    check_document(text, f"the class list {path}")
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # PyYAML does not convert the errors of dates, numbers and depth
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the class list {path}: not YAML ({shown(reason, 200)})") from error
    if isinstance(content, list):
        content = {"classes": content}
    unknown = set(content) - {"classes", "others"} if isinstance(content, dict) else {"no mapping"}
    if unknown or not isinstance(content.get("classes"), list):
        raise UserError(
            f"the class list {path}: needs a list `classes` and, for merges, `others`; see "
            "vocseg/data/README.md"
        )
    _check_count(len(content["classes"]), path)  # before a colour is looked up for each
    entries = [_entry(each, path) for each in content["classes"]]
    if not any("merge" in entry for entry in entries):
        if "others" in content:
            raise UserError(f"the class list {path}: `others` has no effect where no class has `merge`")
        return _from_entries(entries, path)
    if any("value" in entry for entry in entries):
        raise UserError(
            f"the class list {path}: has both `value` and `merge`: write `merge: [VALUE]` instead of `value`"
        )
    return _checked(_merged(_with_background(entries, path), content.get("others", "background"), path), path)


def _from_entries(entries: list[dict[str, Any]], path: Path) -> ClassList:
    """Classes without merges."""
    _check_count(len(entries), path)
    entries = _with_background(entries, path)
    values = tuple((int(entry.get("value", k)),) for k, entry in enumerate(entries))
    classes = _coloured(entries, tuple((k,) for k in range(len(entries))), ())
    declared = all("colour" in entry for entry in entries[1:]) and len(set(classes.colours)) == len(entries)
    return _checked(replace(classes, values=values, coloured=declared), path)


def _with_background(entries: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Put `background` before a single class: training needs two."""
    if len(entries) != 1 or entries[0]["name"].strip().lower() in ("", "background"):
        return entries
    if path not in _REPORTED:
        _REPORTED.add(path)
        print(
            f"the class list {path} names one class: `background` (mask value 0) is put before it", flush=True
        )
    return [{"name": "background"}, *entries]


def _with_values(classes: ClassList, values: Sequence[int], path: Path) -> ClassList:
    """Replace the mask values, one for each class."""
    flag = f"--data.mask_values {list(values)}"
    if classes.void or any(len(group) != 1 for group in classes.values):
        raise UserError(f"{flag}: the class list {path} merges mask values: leave the flag out")
    if len(values) != len(classes) or not all(0 <= value <= _LARGEST for value in values):
        raise UserError(
            f"{flag}: give the mask value (0..{_LARGEST}) of each of the {len(classes)} classes in "
            f"{path}: {shown(', '.join(classes.names), 200)}"
        )
    return _checked(replace(classes, values=tuple((int(value),) for value in values)), path)


def _entry(entry: Any, path: Path) -> dict[str, Any]:
    """One class as a valid mapping with the key `name`."""
    entry = {"name": entry} if isinstance(entry, str) else entry
    named = isinstance(entry, dict) and isinstance(entry.get("name"), str)
    if not named or set(entry) - {"name", "colour", "merge", "value"}:
        raise UserError(
            f"the class list {path}: a class is a name, or has the keys name, colour, merge, value; not "
            f"{_brief(entry)}"
        )
    value = entry.get("value", 0)
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise UserError(
            f"the class list {path}: the value of '{shown(entry['name'])}' is {_brief(value)}, not an "
            f"integer 0..{_LARGEST}"
        )
    colour = entry.get("colour", [0, 0, 0])
    if not (
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(c) is int and 0 <= c <= 255 for c in colour)
    ):
        raise UserError(
            f"the class list {path}: the colour of '{shown(entry['name'])}' is {_brief(colour)}, not "
            "[red, green, blue], each 0..255"
        )
    return dict(entry)


def _merged(entries: list[dict[str, Any]], others: str, path: Path) -> ClassList:
    """Classes merged from VOC's."""
    values = tuple(_values(entry, path) for entry in entries)
    named = {value for group in values for value in group}
    rest = tuple(k for k in range(len(CLASSES)) if k not in named)
    if others not in ("background", "void"):
        raise UserError(f"the class list {path}: `others` is {_brief(others)}; it may be background or void")
    if others == "background" and values:
        return _coloured(entries, (values[0] + rest, *values[1:]), ())
    return _coloured(entries, values, rest)


def _values(entry: dict[str, Any], path: Path) -> tuple[int, ...]:
    """Mask values of a merged class."""
    parts = entry.get("merge", [entry["name"]])
    parts = parts if isinstance(parts, list) else [parts]
    for part in parts:
        if part not in CLASSES and not (type(part) is int and 0 <= part < IGNORE_INDEX):
            raise UserError(
                f"the class list {path}: '{shown(entry['name'])}' merges {_brief(part)}, which is neither a "
                f"VOC class nor a mask value 0..{IGNORE_INDEX - 1}; VOC's classes are {', '.join(CLASSES)}"
            )
    return tuple(CLASSES.index(part) if part in CLASSES else int(part) for part in parts)


def _coloured(
    entries: list[dict[str, Any]], values: tuple[tuple[int, ...], ...], void: tuple[int, ...]
) -> ClassList:
    """Classes with their colours, by default VOC's of the first mask value."""
    colours: list[Colour] = [
        tuple(entry["colour"]) if "colour" in entry else PALETTE[group[0] if group else 0]
        for entry, group in zip(entries, values, strict=True)
    ]
    return ClassList(tuple(entry["name"] for entry in entries), tuple(colours), values, void)


def _check_count(classes: int, path: Path) -> None:
    if not 1 <= classes <= IGNORE_INDEX:
        raise UserError(f"the class list {path}: has {classes} classes; 1 to {IGNORE_INDEX} are allowed")


def _brief(value: Any) -> str:
    """Value for an error message, shortened: few bytes of YAML may expand to endlessly many."""
    return shown(reprlib.repr(value))


def _checked(classes: ClassList, path: Path) -> ClassList:
    """Return the list, or raise where a name is invalid or repeated, or mask values repeat or are missing."""
    for name in classes.names:
        if not name.strip() or not name.isprintable() or len(name) > _MOST_CHARACTERS:
            raise UserError(
                f"the class list {path}: the name '{shown(name, 40)}' is empty, longer than "
                f"{_MOST_CHARACTERS} characters, or has unprintable ones: give the class another"
            )
    if len(classes) < 2:
        raise UserError(f"the class list {path}: has `background` alone: add a class")
    values = [value for group in classes.values for value in group]
    for kind, items in (("the class", classes.names), ("the mask value", values)):
        twice = next((item for k, item in enumerate(items) if item in items[:k]), None)
        if twice is not None:
            raise UserError(f"the class list {path}: {kind} '{twice}' occurs twice")
    if () in classes.values:
        name = classes.names[classes.values.index(())]
        raise UserError(f"the class list {path}: '{name}' merges nothing: add VOC classes, or leave it out")
    return classes
