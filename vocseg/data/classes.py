"""Names, colours and mask values of classes, and the files that list them."""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.errors import UserError, shown
from vocseg.utils.regular_file import read_regular
from vocseg.utils.yaml_loader import check_document

Colour = tuple[int, int, int]

_MOST_BYTES = 1 << 17  # of a file: 255 classes with all keys take less
_MOST_CHARACTERS = 100  # of a name, for tables
_LARGEST = 255  # value of a mask
_LABELMAP = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3}):[^:]*:[^:]*")  # CVAT: name:r,g,b:parts:actions

_REPORTED: set[Path] = set()  # lists of one class


@dataclass(frozen=True)
class ClassList:
    """Names and colours by class index, and the values in mask files that stand for each.

    Attributes:
        names: By class index.
        colours: RGB of each, 0..255.
        values: Mask values of each class; several where classes of the files are merged.
        void: Ignored mask values besides 255 (unless 255 is a class's).
        coloured: True if masks may be RGB images in these colours, which are all different.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    values: tuple[tuple[int, ...], ...]
    void: tuple[int, ...] = ()
    coloured: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        # Short, as it is a default in signatures that `help` prints.
        names = self.names if len(self) <= 4 else (*self.names[:2], "...", self.names[-1])
        return f"<ClassList of {len(self)}: {', '.join(names)}>"

    @cached_property
    def table(self) -> npt.NDArray[np.uint8]:
        """Class index of every mask value, uint8 `[256]`, 255 for ignored ones."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        for index, values in enumerate(self.values):
            table[list(values)] = index
        return table

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """Mask values that are allowed in a file, bool `[256]`."""
        known = np.zeros(256, bool)
        known[[value for values in self.values for value in values] + [*self.void, IGNORE_INDEX]] = True
        return known

    @cached_property
    def as_stored(self) -> bool:
        """True if mask files hold class indices already."""
        return all(values == (index,) for index, values in enumerate(self.values)) and not self.void

    def to_indices(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Convert mask values to class indices, uint8 of any shape."""
        return mask if self.as_stored else self.table[mask]

    @cached_property
    def palette(self) -> tuple[Colour, ...]:
        """256 colours: the classes', then VOC's, whose last one is the ignored pixels'."""
        return self.colours + PALETTE[len(self) :]

    def describe_values(self) -> str:
        """Return the allowed mask values as text, such as `0..20 and 255 (void)`."""
        values = np.flatnonzero(self.known).tolist()
        void = [] if self.table[IGNORE_INDEX] != IGNORE_INDEX else [f"{values.pop()} (void)"]
        run = values == list(range(values[0], values[-1] + 1)) and len(values) > 2
        some = [f"{values[0]}..{values[-1]}"] if run else [*map(str, values)]
        *others, last = some + void
        return f"{', '.join(others)} and {last}" if others else last

    @cached_property
    def by_colour(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Colours of RGB masks as `0xRRGGBB`, ascending, and the mask value of each.

        VOC's colour of 255 means ignored, unless it is a class's.
        """
        has_void = self.table[IGNORE_INDEX] == IGNORE_INDEX
        colours = {PALETTE[IGNORE_INDEX]: IGNORE_INDEX} if has_void else {}
        colours |= {colour: group[0] for colour, group in zip(self.colours, self.values, strict=True)}
        codes = {red << 16 | green << 8 | blue: value for (red, green, blue), value in colours.items()}
        return np.array(sorted(codes), np.int32), np.array([codes[key] for key in sorted(codes)], np.uint8)


VOC_CLASSES = ClassList(
    CLASSES, PALETTE[: len(CLASSES)], tuple((k,) for k in range(len(CLASSES))), coloured=True
)


def named_classes(names: Sequence[str], colours: Sequence[Sequence[int]] | None = None) -> ClassList:
    """Create a list of classes whose masks hold their indices; default colours are VOC's, by position."""
    chosen = PALETTE[: len(names)] if colours is None else [(int(r), int(g), int(b)) for r, g, b in colours]
    return ClassList(tuple(names), tuple(chosen), tuple((k,) for k in range(len(names))))


def numbered_classes(count: int) -> ClassList:
    """Return VOC's classes if there are 21, else classes named by number."""
    return VOC_CLASSES if count == len(VOC_CLASSES) else named_classes([f"class {k}" for k in range(count)])


class _InvalidError(Exception):
    """What is wrong with a class list."""


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
    `background` is put before a single name. `mask_values` replaces the file's, in the order of the list.

    Raises:
        UserError: If the file is missing or invalid.
    """
    where = f"the class list {shown(path, 300)}"
    try:
        text = read_regular(path, _MOST_BYTES)[0].decode("utf-8-sig")
        if path.suffix.lower() in (".yaml", ".yml"):
            check_document(text, where)
            entries, others = _from_yaml(text)
        else:
            entries, others = _rows(text, path.suffix.lower()), None
        _check_count(len(entries))
        if len(entries) == 1 and entries[0]["name"].strip().lower() not in ("", "background"):
            entries.insert(0, {"name": "background"})  # training needs two
            if path not in _REPORTED:
                _REPORTED.add(path)
                print(f"{where} names one class: `background` (mask value 0) is put before it", flush=True)
        classes = _checked(_listed(entries) if others is None else _merged(entries, others))
        return classes if mask_values is None else _checked(_with_values(classes, mask_values))
    except FileNotFoundError:
        raise UserError(f"{where} does not exist") from None
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: cannot be read (it is not UTF-8)") from error
    except _InvalidError as error:
        raise UserError(f"{where}: {error}") from error


def class_text(names: Sequence[str], source: Path) -> str:
    """Return a class list as YAML, for masks that hold the positions of the names, the background's first.

    Raises:
        UserError: If there are too few or too many, or one cannot be printed.
    """
    import yaml

    try:
        _check_count(len(names))
        _checked(named_classes(names))
    except _InvalidError as error:
        raise UserError(f"the class list {source}: {error}") from error
    return yaml.safe_dump({"classes": list(names)}, allow_unicode=True)


def _rows(text: str, suffix: str) -> list[dict[str, Any]]:
    """Entries of a text file, as from YAML: plain names, or an export of CVAT or Roboflow."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if suffix == ".csv":
        return [_csv_row(line) for line in lines[1:]]
    found = [_LABELMAP.fullmatch(line) for line in lines if not line.startswith("#")]
    if lines and all(found):
        groups = [match.groups() for match in found if match is not None]
        return [_entry({"name": name, "colour": [*map(int, colour)]}) for name, *colour in groups]
    return [{"name": line} for line in lines]


def _csv_row(line: str) -> dict[str, Any]:
    """A line of Roboflow's `_classes.csv`: a mask value and a name."""
    value, _, name = line.partition(",")
    if not value.strip().isdecimal():
        raise _InvalidError(
            f"the line '{shown(line, 40)}' is no mask value and name, joined by a comma: write lines such as "
            "`1, cat` below the title line, or give a .txt or .yaml file"
        )
    return _entry({"name": name.strip(), "value": int(value[:6])})


def _from_yaml(text: str) -> tuple[list[dict[str, Any]], str | None]:
    """Entries of a YAML file, and its class of the rest; None: no class has `merge`."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except Exception as error:  # PyYAML does not convert the errors of dates, numbers and depth
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _InvalidError(f"not YAML ({shown(reason, 200)})") from error
    if isinstance(content, list):
        content = {"classes": content}
    unknown = set(content) - {"classes", "others"} if isinstance(content, dict) else {"no mapping"}
    if unknown or not isinstance(content.get("classes"), list):
        raise _InvalidError("needs a list `classes` and, for merges, `others`; see vocseg/data/README.md")
    _check_count(len(content["classes"]))  # before a colour is looked up for each
    entries = [_entry(each) for each in content["classes"]]
    if not any("merge" in entry for entry in entries):
        if "others" in content:
            raise _InvalidError("`others` has no effect where no class has `merge`")
        return entries, None
    if any("value" in entry for entry in entries):
        raise _InvalidError("has both `value` and `merge`: write `merge: [VALUE]` instead of `value`")
    others = content.get("others", "background")
    if others not in ("background", "void"):
        raise _InvalidError(f"`others` is {_brief(others)}; it may be background or void")
    return entries, others


def _listed(entries: list[dict[str, Any]]) -> ClassList:
    """Classes without merges."""
    values = tuple((int(entry.get("value", k)),) for k, entry in enumerate(entries))
    classes = _coloured(entries, tuple((k,) for k in range(len(entries))), ())
    declared = all("colour" in entry for entry in entries[1:]) and len(set(classes.colours)) == len(entries)
    return replace(classes, values=values, coloured=declared)


def _with_values(classes: ClassList, values: Sequence[int]) -> ClassList:
    """Replace the mask values, one for each class."""
    flag = f"--data.mask_values {list(values)}"
    if classes.void or any(len(group) != 1 for group in classes.values):
        raise _InvalidError(f"merges mask values, so that {flag} has no effect: leave the flag out")
    if len(values) != len(classes) or not all(0 <= value <= _LARGEST for value in values):
        raise _InvalidError(
            f"{flag} does not fit: give the mask value (0..{_LARGEST}) of each of the {len(classes)} "
            f"classes: {shown(', '.join(classes.names), 200)}"
        )
    return replace(classes, values=tuple((int(value),) for value in values))


def _entry(entry: Any) -> dict[str, Any]:
    """One class as a valid mapping with the key `name`."""
    entry = {"name": entry} if isinstance(entry, str) else entry
    named = isinstance(entry, dict) and isinstance(entry.get("name"), str)
    if not named or set(entry) - {"name", "colour", "merge", "value"}:
        raise _InvalidError(
            f"a class is a name, or has the keys name, colour, merge, value; not {_brief(entry)}"
        )
    name, value, colour = shown(entry["name"]), entry.get("value", 0), entry.get("colour", [0, 0, 0])
    if not _is_byte(value):
        raise _InvalidError(f"the value of '{name}' is {_brief(value)}, not an integer 0..{_LARGEST}")
    if not (isinstance(colour, list) and len(colour) == 3 and all(map(_is_byte, colour))):
        raise _InvalidError(
            f"the colour of '{name}' is {_brief(colour)}, not [red, green, blue], each 0..255"
        )
    return dict(entry)


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST  # True is an int, too


def _merged(entries: list[dict[str, Any]], others: str) -> ClassList:
    """Classes merged from VOC's."""
    values = tuple(map(_values, entries))
    named = {value for group in values for value in group}
    rest = tuple(k for k in range(len(CLASSES)) if k not in named)
    if others == "background":
        return _coloured(entries, (values[0] + rest, *values[1:]), ())
    return _coloured(entries, values, rest)


def _values(entry: dict[str, Any]) -> tuple[int, ...]:
    """Mask values of a merged class."""
    parts = entry.get("merge", [entry["name"]])
    parts = parts if isinstance(parts, list) else [parts]
    for part in parts:
        if part not in CLASSES and not (_is_byte(part) and part < IGNORE_INDEX):
            raise _InvalidError(
                f"'{shown(entry['name'])}' merges {_brief(part)}, which is neither a VOC class nor a mask "
                f"value 0..{IGNORE_INDEX - 1}; VOC's classes are {', '.join(CLASSES)}"
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


def _check_count(classes: int) -> None:
    if not 1 <= classes <= IGNORE_INDEX:
        raise _InvalidError(f"has {classes} classes; 1 to {IGNORE_INDEX} are allowed")


def _brief(value: Any) -> str:
    """Value for an error message, shortened: few bytes of YAML may expand to endlessly many."""
    return shown(reprlib.repr(value))


def _checked(classes: ClassList) -> ClassList:
    """Return the list, or raise where a name is invalid or repeated, or mask values repeat or are missing."""
    for name in classes.names:
        if not name.strip() or not name.isprintable() or len(name) > _MOST_CHARACTERS:
            raise _InvalidError(
                f"the name '{shown(name, 40)}' is empty, longer than {_MOST_CHARACTERS} characters, or has "
                "unprintable ones: give the class another"
            )
    if len(classes) < 2:
        raise _InvalidError("has `background` alone: add a class")
    values = [value for group in classes.values for value in group]
    for kind, items in (("the class", classes.names), ("the mask value", values)):
        twice = next((item for k, item in enumerate(items) if item in items[:k]), None)
        if twice is not None:
            raise _InvalidError(f"{kind} '{twice}' occurs twice")
    if () in classes.values:
        name = classes.names[classes.values.index(())]
        raise _InvalidError(f"'{name}' merges nothing: add VOC classes, or leave it out")
    return classes
