"""Where VOC's server looks for masks within an archive, and what a name within one is.

Source: the VOC 2012 development kit, section on the submission of results.
"""

import posixpath
import re
from collections.abc import Collection
from typing import Literal

from vocseg.errors import shown

Competition = Literal[5, 6]

SERVER = "http://host.robots.ox.ac.uk:8080/"
TEST_IMAGES = 1456  # in VOC 2012's ImageSets/Segmentation/test.txt

_JUNK = re.compile(r"\._.*|\.DS_Store|__MACOSX|\.AppleDouble|Thumbs\.db|desktop\.ini|\.gitkeep|.*~", re.I)
_DRIVE = re.compile(r"[A-Za-z]:|[\\/]")
_FOLDER = re.compile(r"results/VOC(\d+)/Segmentation/comp(\d+)_test_cls")

Wrong = tuple[str, str]  # kind and text of a fault


def folder_of(competition: int) -> str:
    """The folder of the masks of a competition."""
    return f"results/VOC2012/Segmentation/comp{competition}_test_cls"


def member_of(competition: int, id: str) -> str:
    """The name of an image's mask."""
    return f"{folder_of(competition)}/{id}.png"


def competition_in(names: Collection[str]) -> Competition:
    """The competition in whose folder most files of an archive are; 6 where none is in either."""
    fives, sixes = (sum(f"comp{k}_" in name for name in names) for k in (5, 6))
    return 5 if fives > sixes else 6


def id_in(name: str, ids: Collection[str]) -> str | None:
    """The image that a file is named after, whatever its folder."""
    stem, ending = posixpath.splitext(posixpath.basename(name))
    return stem if ending == ".png" and stem in ids else None


def wrong_name(name: str, ids: Collection[str], competition: int) -> Wrong | None:
    """What is wrong with a file's name; None: nothing.

    Args:
        name: As the archive has it.
        ids: The images of the list.
        competition: The one that the archive is for.
    """
    parts = posixpath.normpath(name).split("/")
    if _DRIVE.match(name) or ".." in parts:
        return "unsafe-path", f"pack names that begin with {folder_of(competition)}/"
    if "\\" in name:
        return "wrong-folder", "its name has \\ where / is due, so it is in no folder at all"
    if any(_JUNK.fullmatch(part) for part in parts):
        return "junk", "leave it out when packing (on macOS: COPYFILE_DISABLE=1 tar ...)"
    wrong = _wrong_folder("/".join(parts[:-1]), competition)
    if wrong is None and id_in(name, ids) is None:
        wrong = "wrong-id", _near(parts[-1], ids)
    return wrong


def stray_folder(name: str, competition: int) -> Wrong | None:
    """What is wrong with an entry that is a folder: it may only lead to the masks."""
    path = posixpath.normpath(name)
    if path == "." or f"{folder_of(competition)}/".startswith(f"{path}/"):
        return None
    kind, _ = wrong_name(f"{path}/x.png", ("x",), competition) or ("wrong-folder", "")
    return kind, "a folder that the server does not look into: remove it"


def _wrong_folder(folder: str, competition: int) -> Wrong | None:
    wanted = folder_of(competition)
    if folder == wanted:
        return None
    if folder.startswith(f"{wanted}/"):
        return "nested", f"it belongs into {wanted} itself"
    known = _FOLDER.fullmatch(folder)
    if known and known[1] != "2012":
        return "wrong-year", f"VOC{shown(known[1], 20)} where VOC2012 is due"
    if known:
        return "wrong-competition", f"comp{shown(known[2], 20)} where comp{competition} is due"
    return "wrong-folder", f"it belongs into {wanted}"


def _near(file: str, ids: Collection[str]) -> str:
    """What a file that no image of the list has may have been meant to be."""
    stem, ending = posixpath.splitext(file)
    if stem in ids:
        return f"call it {stem}.png: the ending is {shown(ending, 20) or 'missing'}"
    near = next((id for id in ids if id.lower() == stem.lower()), None)
    near = near or next((id for id in ids if stem.startswith(id)), None)
    return f"call it {near}.png, if it is that one" if near else "remove it, or check another list (--split)"
