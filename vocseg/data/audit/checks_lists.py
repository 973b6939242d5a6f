"""Checks of split lists and folders."""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocseg.data.audit.findings import Finding
from vocseg.data.voc import IMAGE_ENDINGS, MOST_ID_BYTES, Layout, id_fault, split_list, without_labels
from vocseg.errors import some
from vocseg.utils.regular_file import read_regular

_BOM = b"\xef\xbb\xbf"
_ENDINGS = re.compile(r"\.(jpe?g|png|txt)$", re.IGNORECASE)


@dataclass(frozen=True)
class SplitList:
    """A split file.

    Attributes:
        split: Name of the split.
        file: Path within the `VOC2012` folder.
        ids: Ids in order, without duplicates and invalid lines.
        findings: Findings in the file.
        complete: True if no line was invalid.
    """

    split: str
    file: str
    ids: tuple[str, ...]
    findings: tuple[Finding, ...]
    complete: bool

    @property
    def trains(self) -> bool:
        """True for training splits that exclude val."""
        return self.split.startswith("train") and not self.split.startswith("trainval")

    @property
    def scores(self) -> bool:
        """True for evaluation splits."""
        return self.split.startswith(("val", "test"))


def read_lists(layout: Layout) -> list[SplitList]:
    """Read all splits, sorted by name; without split files, sub-folders of images or all pairs."""
    folder = split_list(layout.folder, "train").parent
    if not folder.is_dir():
        return _from_folders(layout)
    return [_read_list(path, layout.name(path)) for path in sorted(folder.glob("*.txt"))]


def _from_folders(layout: Layout) -> list[SplitList]:
    ids, _ = layout.pairs("")
    tops = sorted({id.partition("/")[0] for id in ids if "/" in id})
    if not tops or any("/" not in id for id in ids):
        return [SplitList("all", layout.image_folder, tuple(ids), (), complete=True)]
    return [
        SplitList(
            top, f"{layout.image_folder}/{top}", tuple(id for id in ids if id.startswith(f"{top}/")), (), True
        )
        for top in tops
    ]


def _read_list(path: Path, file: str) -> SplitList:
    split = path.stem
    try:
        data = read_regular(path)[0]
    except OSError as error:
        finding = Finding(file, "list-unreadable", f"cannot be read ({error.strerror}): restore it")
        return SplitList(split, file, (), (finding,), complete=False)
    try:
        text = data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        where = data.removeprefix(_BOM)[: error.start].count(b"\n") + 1
        finding = Finding(file, "list-encoding", f"line {where} is not UTF-8: save it as UTF-8")
        return SplitList(split, file, (), (finding,), complete=False)
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    ids, found = _ids(lines, file)
    if data.startswith(_BOM):
        found.append(Finding(file, "list-byte-order-mark", "save it as UTF-8 without a byte order mark"))
    if "\r" in text:
        count = text.count("\r")
        found.append(Finding(file, "list-line-ends", f"{count:,} lines end with CRLF: save it with LF"))
    dropped = {finding.kind for finding in found} & {"list-odd-id", "list-empty"}
    return SplitList(split, file, tuple(dict.fromkeys(ids)), tuple(found), complete=not dropped)


def _ids(lines: list[str], file: str) -> tuple[list[str], list[Finding]]:
    """Ids and findings of the lines."""
    if not any(line.strip() for line in lines):
        return [], [Finding(file, "list-empty", "write one id per line")]
    wrong = {
        "list-blank-line": [f"line {k}" for k, line in enumerate(lines, 1) if not line.strip()],
        "list-spaces": [
            f"line {k}" for k, line in enumerate(lines, 1) if line.strip() and line.strip() != line
        ],
    }
    places: dict[str, list[int]] = defaultdict(list)
    stripped = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    for number, id in without_labels(stripped):
        if id_fault(id) or "/" in id or id.startswith(".") or _ENDINGS.search(id):
            wrong.setdefault("list-odd-id", []).append(f"line {number} ({id[:60]!r})")
        else:
            places[id].append(number)
    wrong["list-duplicate"] = [
        f"{id} (lines {' and '.join(map(str, numbers))})"
        for id, numbers in places.items()
        if len(numbers) > 1
    ]
    return list(places), [
        Finding(file, kind, f"{some(each)}: {_REMEDY[kind]}") for kind, each in wrong.items() if each
    ]


_REMEDY = {
    "list-blank-line": "remove blank lines",
    "list-spaces": "remove spaces around the id",
    "list-odd-id": f"an id is a file name without folder and suffix, at most {MOST_ID_BYTES} bytes",
    "list-duplicate": "keep one line per image",
}


def compare_lists(lists: Iterable[SplitList], layout: Layout) -> list[Finding]:
    """Check for missing splits and shared images."""
    by_name = {each.split: each for each in lists}
    usual = {"train", "val"} if split_list(layout.folder, "").parent.is_dir() else set[str]()
    found = [
        Finding(
            layout.name(split_list(layout.folder, split)),
            "list-missing",
            "restore it, pass another with --data.train_split or --data.val_split, or split at random with "
            "--data.val_fraction 0.2",
        )
        for split in sorted(usual - by_name.keys())
        if usual & by_name.keys()
    ]
    for scored in filter(lambda each: each.scores, by_name.values()):
        for trained in filter(lambda each: each.trains, by_name.values()):
            shared = sorted(set(scored.ids) & set(trained.ids))
            if shared:
                text = f"{len(shared):,} of its images are also in {scored.split}.txt: {some(shared)}"
                found.append(Finding(trained.file, "list-overlap", text))
    return found + _compare_trainval(by_name)


def _compare_trainval(lists: dict[str, SplitList]) -> list[Finding]:
    parts = [lists.get(split) for split in ("train", "val", "trainval")]
    if any(part is None or not part.complete for part in parts):
        return []
    train, val, both = (set(part.ids) for part in parts if part is not None)
    differ = [(both - train - val, "is in neither train nor val"), ((train | val) - both, "is missing")]
    texts = [f"{some(sorted(ids))} {what}" for ids, what in differ if ids]
    return [Finding(lists["trainval"].file, "list-trainval", "; ".join(texts))] if texts else []


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


def _read_folder(layout: Layout, name: str, suffix: str | None) -> Folder:
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
    images = _read_folder(layout, layout.image_folder, layout.image_suffix)
    paths = [path for id in ids for path in layout.images(id)]
    found = [*images.findings, *twice, *_missing(images, paths, "image-missing")]
    masked = [each for each in lists if not each.split.startswith("test")]  # VOC's test masks are not public
    wanted = {layout.masks_of(each.split): set[Path]() for each in masked}
    for each in masked:
        wanted[layout.masks_of(each.split)].update(layout.mask(id, each.split) for id in each.ids)
    for name, there in wanted.items():
        masks = _read_folder(layout, name, layout.mask_suffix)
        found += [*masks.findings, *_missing(masks, there, "mask-missing")]
        if name == layout.masks_of(""):
            # Images without a mask are normal: VOC has 17,125 images and 2,913 masks.
            unlisted = sorted(masks.files - {layout.mask(id, "").name for id in ids})
            text = "add its id to a split, or remove it"
            found += [Finding(f"{name}/{file}", "mask-unlisted", text) for file in unlisted]
    return found, len(images.files - {path.name for path in paths})
