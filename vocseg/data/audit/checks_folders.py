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
    """Files of a folder of images or masks.

    Attributes:
        name: Path within the `VOC2012` folder.
        exists: True if it exists.
        files: Names of its files, without junk, copies and wrong suffixes.
        strays: Names with a wrong suffix, by stem.
        findings: Findings in it.
    """

    name: str
    exists: bool
    files: frozenset[str]
    strays: dict[str, str]
    findings: tuple[Finding, ...]


def _read(layout: Layout, name: str, suffix: str | None) -> Folder:
    """List a folder, without opening files."""
    path = layout.folder / name
    if not path.is_dir():
        finding = Finding(name, "folder-missing", "restore it from the archive")
        return Folder(name, False, frozenset(), {}, (finding,))
    files, strays, found = set[str](), dict[str, str](), list[Finding]()
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            kind, text = _check_entry(entry, suffix)
            if kind is None:
                files.add(entry.name)
            else:
                found.append(Finding(f"{name}/{entry.name}", kind, text))
            if kind == "wrong-ending":
                strays[Path(entry.name).stem] = entry.name
    lower = dict[str, str]()
    for file in sorted(files):
        other = lower.setdefault(file.lower(), file)
        if other != file:
            text = f"the same file as {other} on some systems: rename one"
            found.append(Finding(f"{name}/{file}", "file-case", text))
    return Folder(name, True, frozenset(files), strays, tuple(found))


def _check_entry(entry: os.DirEntry[str], suffix: str | None) -> tuple[str | None, str]:
    """Kind and text of the finding of an entry; None: it is valid."""
    stem = Path(entry.name).stem
    try:
        status = entry.stat()  # follows links
    except OSError as error:
        return "not-a-file", f"cannot be opened ({error.strerror}): replace it by a file, or remove it"
    if stat.S_ISDIR(status.st_mode):
        return "sub-folder", "move its files out, or remove it"
    if not stat.S_ISREG(status.st_mode):
        return "not-a-file", "a pipe or a device: replace it by a file, or remove it"
    if _JUNK.fullmatch(entry.name):
        return "junk-file", "remove it"
    if suffix is None and Path(entry.name).suffix.lower() not in IMAGE_ENDINGS:
        return "wrong-ending", f"not an image suffix ({', '.join(sorted(IMAGE_ENDINGS))}): remove it"
    if suffix is not None and not entry.name.endswith(suffix):
        return "wrong-ending", f"rename it to {stem}{suffix}, or remove it"
    if _COPY.fullmatch(stem):
        return "second-copy", "remove it"
    if status.st_size == 0:
        return "empty-file", "0 bytes: restore it from the archive"
    return None, ""


def _missing(folder: Folder, paths: Iterable[Path], kind: str) -> list[Finding]:
    """Files of splits that are missing and have no other finding."""
    if not folder.exists:
        return []
    reported = {f.file for f in folder.findings if f.kind in ("empty-file", "not-a-file", "sub-folder")}
    lower = {name.lower(): name for name in folder.files}
    found = []
    for path in sorted(set(paths)):
        name = path.name
        if name in folder.files or path.stem in folder.strays or f"{folder.name}/{name}" in reported:
            continue
        near = lower.get(name.lower())
        remedy = f"{near} exists: rename it" if near else "restore it, or remove its id from the splits"
        found.append(Finding(f"{folder.name}/{name}", kind, remedy))
    return found


def examine_folders(layout: Layout, lists: Sequence[SplitList]) -> tuple[list[Finding], int]:
    """Check the folders; returns findings and the number of images in no split."""
    ids = {id for each in lists for id in each.ids}
    remedy = "remove one, or set the suffix of all images with --data.image_suffix"
    several = ((id, layout.images(id)) for id in sorted(ids))
    twice = [
        Finding(layout.name(found[1]), "image-twice", f"{found[0].name} also has the id '{id}': {remedy}")
        for id, found in several
        if len(found) > 1
    ]
    if layout.image_folder == layout.mask_folder or any("/" in id for id in ids):
        return twice, 0  # mixed files or sub-folders: the splits were made from the files
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
            # Images without a mask are normal: VOC has 17,125 images and 2,913 masks.
            unlisted = sorted(masks.files - {layout.mask(id, "").name for id in ids})
            text = "add its id to a split, or remove it"
            found += [Finding(f"{name}/{file}", "mask-unlisted", text) for file in unlisted]
    return found, len(images.files - {path.name for path in paths})
