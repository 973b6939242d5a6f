"""Lists of image ids, one a line."""

import os
import re
from pathlib import Path

from vocseg.errors import UserError, shown
from vocseg.plain_files import read_plain

MOST_ID_BYTES = 200  # of an id: with its ending it is the name of a file, and systems allow 255
_LABELLED = re.compile(r"(\S+)[ \t]+(?:-1|0|1)")
_DRIVE = re.compile(r"[A-Za-z]:")


def read_ids(path: Path) -> list[str]:
    """The ids of a list, in its order; a byte order mark, Windows line ends and blank lines do no harm.

    An id may have spaces and any letters. Where every line is a word and -1, 0 or 1, as in the lists by class
    of VOC's development kit, the words are the ids.

    Args:
        path: An existing text file.

    Raises:
        UserError: If it cannot be read, names no image, names one twice, or a line is no id.
    """
    lines = without_labels(_lines(path))
    places: dict[str, int] = {}
    for number, line in lines:
        fault = id_fault(line)
        if fault is not None:
            raise UserError(
                f"line {number} of the split list {path} {fault}: write one id a line, which is an image's "
                "file name without folder and ending"
            )
        if line in places:
            raise UserError(
                f"the split list {path} names '{line}' twice, on the lines {places[line]} and {number}: "
                "remove one of the lines"
            )
        places[line] = number
    if not places:
        raise UserError(f"the split list {path} is empty: it needs one image id a line")
    return list(places)


def without_labels(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Numbered lines without the second column of VOC's development kit, if that is what they have.

    Args:
        lines: Number and text of each; none is blank.
    """
    found = [_LABELLED.fullmatch(line) for _, line in lines]
    ids = [match[1] for match in found if match is not None]
    if len(ids) < len(lines) or len(set(ids)) < len(ids):  # `photo 0` and `photo 1` are two images
        return lines
    return [(number, id) for (number, _), id in zip(lines, ids, strict=True)]


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers and without the spaces around them."""
    try:
        data = read_plain(path)[0]
        text = data.decode("utf-8-sig")
    except OSError as fault:
        raise UserError(
            f"the split list {path} cannot be read ({fault.strerror}): make it readable"
        ) from fault
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
        raise UserError(
            f"the split list {path} is no text: line {line} is not UTF-8; save it as UTF-8"
        ) from fault
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    return [(number, line.strip(" \t")) for number, line in lines if line.strip(" \t")]


def id_fault(id: str) -> str | None:
    """Why a line is no id: what it says must be a file within the data set."""
    if id.startswith("#"):
        return "is a comment, which a list cannot have"
    if not id.isprintable():
        return f"has an odd character ('{shown(id, 40)}')"
    if len(os.fsencode(id)) > MOST_ID_BYTES:
        return f"has {len(id):,} characters ('{shown(id, 40)}')"
    if "\\" in id or _DRIVE.match(id) or any(part in ("", ".", "..") for part in id.split("/")):
        return f"leads elsewhere ('{shown(id, 40)}')"
    return None
