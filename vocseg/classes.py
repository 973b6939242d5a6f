"""Which classes a network tells apart, their colours, and which values of a mask file mean them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.errors import UserError
from vocseg.voc import CLASSES, IGNORE_INDEX, PALETTE

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """Names and colours by class index, and the values in mask files that stand for each.

    Attributes:
        names: One a class; the position is the index that the network predicts.
        colours: RGB of each, 0..255.
        values: The mask values of each class; several where classes of the files are merged.
        void: Further mask values that are known and ignored, besides 255.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    values: tuple[tuple[int, ...], ...]
    void: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def table(self) -> npt.NDArray[np.uint8]:
        """The class index of every mask value as uint8 `[256]`, 255 for void."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        for index, values in enumerate(self.values):
            table[list(values)] = index
        return table

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """The values that a mask file may hold, as bool `[256]`."""
        known = np.zeros(256, bool)
        known[[value for values in self.values for value in values] + [*self.void, IGNORE_INDEX]] = True
        return known

    @cached_property
    def as_stored(self) -> bool:
        """Whether mask files hold class indices already, so that nothing is to be translated."""
        return all(values == (index,) for index, values in enumerate(self.values)) and not self.void

    @cached_property
    def palette(self) -> tuple[Colour, ...]:
        """256 colours: the classes', then VOC's, whose last one is void's cream."""
        return self.colours + PALETTE[len(self) :]

    def describe_values(self) -> str:
        """The values a mask may hold, for people: `0..20 and 255 (void)`."""
        values = np.flatnonzero(self.known[:IGNORE_INDEX]).tolist()
        run = values == list(range(values[0], values[-1] + 1)) and len(values) > 2
        some = f"{values[0]}..{values[-1]}" if run else ", ".join(map(str, values))
        return f"{some} and {IGNORE_INDEX} (void)"


VOC_CLASSES = ClassList(CLASSES, PALETTE[: len(CLASSES)], tuple((k,) for k in range(len(CLASSES))))


def named_classes(names: Sequence[str], colours: Sequence[Sequence[int]] | None = None) -> ClassList:
    """A list of classes whose masks hold their indices; without colours they get VOC's, by position."""
    chosen = PALETTE[: len(names)] if colours is None else [(int(r), int(g), int(b)) for r, g, b in colours]
    return ClassList(tuple(names), tuple(chosen), tuple((k,) for k in range(len(names))))


def numbered_classes(count: int) -> ClassList:
    """VOC's classes if there are as many, else classes that only have a number."""
    return VOC_CLASSES if count == len(VOC_CLASSES) else named_classes([f"class {k}" for k in range(count)])


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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"the class list {path}: cannot be read ({type(fault).__name__})") from fault
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(text, path)
    return _checked(named_classes([line.strip() for line in text.splitlines() if line.strip()]), path)


def _from_yaml(text: str, path: Path) -> ClassList:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise UserError(f"the class list {path}: not YAML ({' '.join(str(fault).split())})") from fault
    if isinstance(content, list):
        content = {"classes": content}
    unknown = set(content) - {"classes", "others"} if isinstance(content, dict) else {"no mapping"}
    if unknown or not isinstance(content.get("classes"), list):
        raise UserError(
            f"the class list {path}: wants a list `classes` and, for merges, `others`; see README"
        )
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
            f"the class list {path}: a class is a name, or has the keys name, colour, merge; not {entry!r}"
        )
    colour = entry.get("colour", [0, 0, 0])
    if not isinstance(colour, list) or len(colour) != 3 or not all(c in range(256) for c in colour):
        raise UserError(
            f"the class list {path}: the colour of '{entry['name']}' is {colour!r}, not [red, green, blue], "
            "each 0..255"
        )
    return dict(entry)


def _merged(entries: list[dict[str, Any]], others: str, path: Path) -> ClassList:
    """Classes made of VOC's."""
    values = tuple(_values(entry, path) for entry in entries)
    named = {value for group in values for value in group}
    rest = tuple(k for k in range(len(CLASSES)) if k not in named)
    if others not in ("background", "void"):
        raise UserError(f"the class list {path}: `others` is {others!r}; it may be background or void")
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
                f"the class list {path}: '{entry['name']}' wants {part!r}, which is neither a VOC class nor "
                f"a mask value 0..{IGNORE_INDEX - 1}; VOC's classes are {', '.join(CLASSES)}"
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


def _checked(classes: ClassList, path: Path) -> ClassList:
    """The same list, if a network can learn it.

    Raises:
        UserError: If it is too short or too long, or a name or a mask value occurs twice.
    """
    if not 2 <= len(classes) <= IGNORE_INDEX:
        raise UserError(f"the class list {path}: names {len(classes)} classes; it takes 2 to {IGNORE_INDEX}")
    for what, all_of in (
        ("the class", list(classes.names)),
        ("the mask value", [value for group in classes.values for value in group]),
    ):
        twice = next((each for k, each in enumerate(all_of) if each in all_of[:k]), None)
        if twice is not None:
            raise UserError(f"the class list {path}: {what} '{twice}' occurs twice")
    return classes
