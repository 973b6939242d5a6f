"""Names, colours and mask values of classes, and the files that list them."""

import re
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.errors import UserError, shown
from vocseg.utils.regular_file import read_regular
from vocseg.utils.yaml_loader import read_yaml

Colour = tuple[int, int, int]

_MOST_BYTES = 1 << 17  # of a file: 255 classes with all keys take less
_MOST_CHARACTERS = 100  # of a name, for tables
_LABELMAP = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3}):[^:]*:[^:]*")  # CVAT: name:r,g,b:parts:actions


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
        """Return the allowed mask values as text, such as `0..20 and 255`."""
        if self.as_stored:
            return f"0..{len(self) - 1} and {IGNORE_INDEX}"
        return ", ".join(map(str, np.flatnonzero(self.known).tolist()))

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
    where, suffix = f"the class list {shown(path, 300)}", path.suffix.lower()
    try:
        others = None
        if suffix in (".yaml", ".yml"):
            entries, others = _from_yaml(read_yaml(path, where))
        else:
            entries = _from_text(read_regular(path, _MOST_BYTES)[0].decode("utf-8-sig"), suffix)
        if len(entries) == 1 and entries[0]["name"].strip().lower() not in ("", "background"):
            entries.insert(0, {"name": "background"})  # training needs two
            _report_background(where)
        if mask_values is not None:
            if others is not None or len(mask_values) != len(entries):
                raise ValueError(
                    f"--data.mask_values {list(mask_values)}: give one mask value for each of the "
                    f"{len(entries)} classes, and no `merge`"
                )
            entries = [
                _entry({**entry, "value": int(k)}) for entry, k in zip(entries, mask_values, strict=True)
            ]
        return _class_list(entries, others)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


@cache
def _report_background(where: str) -> None:
    print(f"{where} names one class: `background` (mask value 0) is put before it", flush=True)


def class_text(names: Sequence[str], source: Path) -> str:
    """Return a class list as YAML, for masks that hold the positions of the names, the background's first.

    Raises:
        UserError: If there are too few or too many, or one cannot be printed.
    """
    import yaml

    try:
        _class_list([{"name": name} for name in names], None)
    except ValueError as error:
        raise UserError(f"the class list {source}: {error}") from error
    return yaml.safe_dump({"classes": list(names)}, allow_unicode=True)


def _from_text(text: str, suffix: str) -> list[dict[str, Any]]:
    """Entries of a text file, as from YAML: plain names, or an export of CVAT or Roboflow."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if suffix == ".csv":
        rows = [line.partition(",") for line in lines[1:]]
        wrong = [value for value, _, _ in rows if not value.strip().isdecimal()]
        if wrong:
            raise ValueError(f"'{shown(wrong[0], 40)}' is not a mask value: write lines such as `1, cat`")
        return [_entry({"name": name.strip(), "value": int(value)}) for value, _, name in rows]
    found = [_LABELMAP.fullmatch(line) for line in lines if not line.startswith("#")]
    if lines and all(found):
        groups = [match.groups() for match in found if match is not None]
        return [_entry({"name": name, "colour": [*map(int, colour)]}) for name, *colour in groups]
    return [{"name": line} for line in lines]


def _from_yaml(content: Any) -> tuple[list[dict[str, Any]], str | None]:
    """Entries of a YAML file, and its class of the rest; None: no class has `merge`."""
    if isinstance(content, list):
        content = {"classes": content}
    known = isinstance(content, dict) and not set(content) - {"classes", "others"}
    if not known or not isinstance(content.get("classes"), list):
        raise ValueError("needs a list `classes` and, for merges, `others`; see vocseg/data/README.md")
    entries = [_entry(each) for each in content["classes"]]
    if "others" not in content and not any("merge" in entry for entry in entries):
        return entries, None
    others = content.get("others", "background")
    if others not in ("background", "void"):
        raise ValueError(f"`others` is {_brief(others)}; it may be background or void")
    return entries, others


def _entry(entry: Any) -> dict[str, Any]:
    """One class as a valid mapping with the key `name`."""
    entry = {"name": entry} if isinstance(entry, str) else entry
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        colour, unknown = entry.get("colour", [0, 0, 0]), set(entry) - {"name", "colour", "merge", "value"}
        valid = isinstance(colour, list) and len(colour) == 3 and all(map(_is_byte, colour))
        if valid and _is_byte(entry.get("value", 0)) and not unknown:
            return dict(entry)
    raise ValueError(
        f"{_brief(entry)} is not a class: write a name, or a mapping with `name` and optionally `colour` "
        "([red, green, blue]), `merge` or `value`, with numbers 0..255"
    )


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255  # True is an int, too


def _class_list(entries: list[dict[str, Any]], others: str | None) -> ClassList:
    """Classes of valid entries.

    Raises:
        ValueError: If a name is invalid or repeated, mask values repeat or are missing, or there are too few.
    """
    names = [entry["name"] for entry in entries]
    if not 2 <= len(names) <= IGNORE_INDEX:
        raise ValueError(f"has {len(names)} classes; 2 to {IGNORE_INDEX} are allowed")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > _MOST_CHARACTERS:
            raise ValueError(
                f"the name '{shown(name, 40)}' is empty, longer than {_MOST_CHARACTERS} characters, or has "
                "unprintable ones: give the class another"
            )
    values: list[tuple[int, ...]] = [(int(entry.get("value", k)),) for k, entry in enumerate(entries)]
    void: tuple[int, ...] = ()
    default = [PALETTE[k] for k in range(len(entries))]
    if others is not None:
        values = [_merged(entry) for entry in entries]
        default = [PALETTE[group[0]] for group in values]
        named = {value for group in values for value in group}
        rest = tuple(k for k in range(len(CLASSES)) if k not in named)
        values[0], void = (values[0] + rest, ()) if others == "background" else (values[0], rest)
    for kind, items in (("class", names), ("mask value", [value for group in values for value in group])):
        twice = [item for item, times in Counter(items).items() if times > 1]
        if twice:
            raise ValueError(f"the {kind} '{twice[0]}' occurs twice")
    colours = [tuple(entry.get("colour", usual)) for entry, usual in zip(entries, default, strict=True)]
    declared = others is None and all("colour" in entry for entry in entries[1:])
    coloured = declared and len(set(colours)) == len(colours)
    return ClassList(tuple(names), tuple(colours), tuple(values), void, coloured)


def _merged(entry: dict[str, Any]) -> tuple[int, ...]:
    """Mask values of a class in a list with merges."""
    parts = entry.get("merge", entry.get("value", entry["name"]))
    parts = parts if isinstance(parts, list) else [parts]
    wrong = [part for part in parts if part not in CLASSES and not (_is_byte(part) and part < IGNORE_INDEX)]
    if wrong or not parts:
        raise ValueError(
            f"'{shown(entry['name'])}' merges {_brief(wrong[0] if wrong else parts)}: name VOC classes "
            f"({', '.join(CLASSES)}) or mask values 0..{IGNORE_INDEX - 1}"
        )
    return tuple(CLASSES.index(part) if part in CLASSES else int(part) for part in parts)


def _brief(value: Any) -> str:
    """Value for an error message, shortened: few bytes of YAML may expand to endlessly many."""
    return shown(reprlib.repr(value))
