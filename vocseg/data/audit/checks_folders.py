"""Checks of folders and file names."""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.findings import Finding
from vocseg.data.voc import IMAGE_ENDINGS, Layout

_JUNK = re.compile(
    r"\..*|thumbs\.db|desktop\.ini|ehthumbs\.db|.*\.(part|partial|crdownload|tmp|bak|swp)|.*~", re.I
)
_COPY = re.compile(r".*( \(\d+\)|[ _-]copy(\s*\(?\d+\)?)?| - Copy.*)", re.I)


@dataclass(frozen=True)
class Folder:
    """What stands in a folder of images or masks.

    Attributes:
        name: Within the `VOC2012` folder.
        suffix: The ending of its files; None: those of images.
        there: Whether it exists.
        files: The names of its files, but for junk, copies and wrong endings.
        strays: The names with a wrong ending, by stem.
        findings: What is wrong with what stands there.
    """

    name: str
    suffix: str | None
    there: bool
    files: frozenset[str]
    strays: dict[str, str]
    findings: tuple[Finding, ...]


def _read(layout: Layout, name: str, suffix: str | None) -> Folder:
    """Look at every entry of a folder, without opening files."""
    path = layout.folder / name
    if not path.is_dir():
        finding = Finding(name, "folder-missing", "there is no such folder: restore it from the archive")
        return Folder(name, suffix, False, frozenset(), {}, (finding,))
    files, strays, found = set[str](), dict[str, str](), list[Finding]()
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            kind, text = _look(entry, suffix)
            if kind is None:
                files.add(entry.name)
            else:
                found.append(Finding(f"{name}/{entry.name}", kind, text))
            if kind == "wrong-ending":
                strays[Path(entry.name).stem] = entry.name
    return Folder(name, suffix, True, frozenset(files), strays, (*found, *_collisions(name, files)))


def _look(entry: os.DirEntry[str], suffix: str | None) -> tuple[str | None, str]:
    """The kind of fault of an entry, and what to say of it; None if it may stand there."""
    stem = Path(entry.name).stem
    try:
        status = entry.stat()  # of what a link leads to
    except OSError as fault:
        return "not-a-file", f"it cannot be opened ({fault.strerror}): put a file in its place, or remove it"
    if stat.S_ISDIR(status.st_mode):
        return "sub-folder", "move its files out, or remove it"
    if not stat.S_ISREG(status.st_mode):
        return "not-a-file", "it is a pipe or a device: put a file in its place, or remove it"
    if _JUNK.fullmatch(entry.name):
        return "junk-file", "remove it"
    if suffix is None and Path(entry.name).suffix.lower() not in IMAGE_ENDINGS:
        return "wrong-ending", f"no image ends in that way ({', '.join(sorted(IMAGE_ENDINGS))}): remove it"
    if suffix is not None and not entry.name.endswith(suffix):
        return "wrong-ending", f"call it {stem}{suffix} if it belongs there, else remove it"
    if _COPY.fullmatch(stem):
        return "second-copy", "remove it"
    if status.st_size == 0:
        return "empty-file", "it has 0 bytes: restore it from the archive"
    return None, ""


def _collisions(folder: str, files: Iterable[str]) -> list[Finding]:
    found, seen = [], dict[str, str]()
    for name in sorted(files):
        other = seen.setdefault(name.lower(), name)
        if other != name:
            text = f"it and {other} are one file on some machines: rename one"
            found.append(Finding(f"{folder}/{name}", "file-case", text))
    return found


def _missing(folder: Folder, paths: Iterable[Path], kind: str) -> list[Finding]:
    """The files that are not there, but for those that other findings name.

    Args:
        folder: Where they should be.
        paths: Of what lists name.
        kind: `image-missing` or `mask-missing`.
    """
    if not folder.there:
        return []
    named = {f.file for f in folder.findings if f.kind in ("empty-file", "not-a-file", "sub-folder")}
    lower = {name.lower(): name for name in folder.files}
    found = []
    for path in sorted(set(paths)):
        name = path.name
        if name in folder.files or path.stem in folder.strays or f"{folder.name}/{name}" in named:
            continue
        near = lower.get(name.lower())
        remedy = f"{near} is there: rename it" if near else "restore it, or remove its id from the lists"
        found.append(Finding(f"{folder.name}/{name}", kind, remedy))
    return found


def _twice(layout: Layout, ids: Iterable[str]) -> list[Finding]:
    """Ids that mean two images."""
    text = "remove one of the two, or name the ending of all images with --data.image_suffix"
    several = ((id, layout.images(id)) for id in sorted(ids))
    return [
        Finding(layout.name(found[1]), "image-twice", f"{found[0].name} has the id '{id}' too: {text}")
        for id, found in several
        if len(found) > 1
    ]


def _unlisted(folder: Folder, listed: Iterable[Path]) -> list[Finding]:
    """Masks that no list names; images without a mask are normal, VOC has 17,125 for 2,913 masks."""
    names = {path.name for path in listed}
    text = "no list names it: add its id to one, or remove it"
    return [Finding(f"{folder.name}/{name}", "mask-unlisted", text) for name in sorted(folder.files - names)]


def examine_folders(layout: Layout, lists: Sequence[SplitList]) -> tuple[list[Finding], int]:
    """What is wrong with the folders, and how many images no list names."""
    ids = {id for each in lists for id in each.ids}
    twice = _twice(layout, ids)
    if layout.image_folder == layout.mask_folder or any("/" in id for id in ids):
        return twice, 0  # files of several kinds, or in sub-folders: the lists were made of what is there
    images = _read(layout, layout.image_folder, layout.image_suffix)
    paths = [path for id in ids for path in layout.images(id)]
    found = [*images.findings, *twice, *_missing(images, paths, "image-missing")]
    masked = [each for each in lists if not each.split.startswith("test")]  # VOC's test masks are not public
    wanted = {layout.masks_of(each.split): set[Path]() for each in masked}
    for each in masked:
        wanted[layout.masks_of(each.split)].update(layout.mask(id, each.split) for id in each.ids)
    for name, there in wanted.items():
        masks = _read(layout, name, layout.mask_suffix)
        found += [*masks.findings, *_missing(masks, there, "mask-missing")]
        if name == layout.masks_of(""):
            found += _unlisted(masks, (layout.mask(id, "") for id in ids))
    return found, len(images.files - {path.name for path in paths})
