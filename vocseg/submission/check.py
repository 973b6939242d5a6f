"""Checks of a submission archive."""

import io
import posixpath
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.data.audit.checks_files import stream_fault
from vocseg.errors import shown
from vocseg.submission.archive import (
    Entry,
    UnusableArchiveError,
    Wrong,
    competition_in,
    entries,
    id_in,
    member_of,
    packing_fault,
    stray_folder,
    wrong_name,
)
from vocseg.utils.progress import follow

KINDS = {
    "archive": "it is not what the server unpacks",
    "archive-damaged": "the archive cannot be read to its end",
    "too-much": "the archive holds more than the masks could take",
    "unsafe-path": "the entry would be unpacked outside the folder",
    "link": "the entry is a link, a device or a pipe, not a file",
    "junk": "the entry was left by an operating system",
    "wrong-folder": "the entry is not where the server looks",
    "wrong-competition": "the entry is in the folder of another competition",
    "wrong-year": "the entry is in the folder of another year",
    "nested": "the entry is in a folder below the one it belongs into",
    "wrong-id": "no image of the list has this name",
    "duplicate": "the entry is there more than once",
    "missing": "an image of the list has no mask",
    "not-png": "the file is no PNG",
    "unreadable": "the PNG is damaged, or cannot be read",
    "mode": "the PNG is no palette picture (mode P) of class indices",
    "grey": "the PNG holds class indices, but no palette",
    "palette": "the palette is not VOC's",
    "void": "the mask holds 255, which a prediction must not",
    "values": "the mask holds values that are no class",
    "size": "the mask is not as large as its image",
}


@dataclass(frozen=True, order=True)
class SubmissionFault:
    """One thing that is wrong.

    Attributes:
        member: The entry in the archive, as the archive calls it; the archive itself where it is meant whole.
        kind: One of `KINDS`.
        text: What is wrong with this very entry, and what to do.
    """

    member: str
    kind: str
    text: str


@dataclass(frozen=True)
class CheckResult:
    """What was found in an archive, or in the masks for one.

    Attributes:
        archive: Its file.
        competition: 5 or 6.
        images: How many images the list has.
        masks: How many of them have a mask that can be read.
        faults: What is wrong; of the whole archive first.
        images_with: Masks in which a class is, by class.
        pixels: Pixels of each class over all masks.
    """

    archive: Path
    competition: int
    images: int
    masks: int
    faults: tuple[SubmissionFault, ...]
    images_with: tuple[int, ...]
    pixels: tuple[int, ...]

    @property
    def exit_code(self) -> int:
        """1 if something is wrong, as with a linter."""
        return 1 if self.faults else 0

    def at(self, archive: Path) -> "CheckResult":
        """The same of a file that got another name."""
        return replace(self, archive=archive)


@dataclass
class ClassCounts:
    """Which classes masks show."""

    masks: int = 0
    images_with: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CLASSES), np.int64))
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CLASSES), np.int64))

    def add(self, indices: npt.NDArray[np.uint8]) -> None:
        """Count a mask uint8 `[H,W]`."""
        counts = np.bincount(indices.ravel(), minlength=256)[: len(CLASSES)]
        self.masks += 1
        self.pixels += counts
        self.images_with += counts > 0

    def check(
        self, archive: Path, competition: int, images: int, faults: Iterable[SubmissionFault]
    ) -> CheckResult:
        """Put together with what else is known."""
        shown = tuple(self.images_with.tolist()), tuple(self.pixels.tolist())
        return CheckResult(archive, competition, images, self.masks, tuple(faults), *shown)


Size = tuple[int, int]  # width, height
_COLOURS = [*range(len(CLASSES)), IGNORE_INDEX]  # the palette's entries that must be VOC's


class MaskCheck(NamedTuple):
    """What is wrong with a file, as kinds and texts, and its class indices uint8 `[H,W]` if it has any."""

    wrong: list[tuple[str, str]]
    indices: npt.NDArray[np.uint8] | None


def examine(data: bytes, size: Size) -> MaskCheck:
    """Look at everything in a mask's file.

    Args:
        data: Its bytes.
        size: Width and height of its image.
    """
    if not data:
        return MaskCheck([("unreadable", "it has 0 bytes")], None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        return MaskCheck([("not-png", f"it is no picture (it begins with {data[:12]!r})")], None)
    except Exception as fault:  # PIL raises nearly anything on damaged bytes
        return MaskCheck([("unreadable", " ".join(str(fault).split()))], None)
    if picture.format != "PNG":
        return MaskCheck([("not-png", f"it is a {picture.format}, whatever its name")], None)
    wrong = [] if picture.size == size else [("size", _sizes(picture.size, size))]
    if picture.width * picture.height > 4 * size[0] * size[1]:
        return MaskCheck(wrong, None)  # not worth the memory
    return _decoded(picture, data, wrong)


def _sizes(found: Size, due: Size) -> str:
    turned = ", as if it was turned" if found == due[::-1] else ""
    return f"it is {found[0]}x{found[1]}, but its image is {due[0]}x{due[1]}{turned}"


def _decoded(picture: Image.Image, data: bytes, wrong: list[tuple[str, str]]) -> MaskCheck:
    damage = stream_fault(data)
    if damage is not None:
        return MaskCheck(
            [*wrong, ("unreadable", damage.text.removesuffix(": restore it from the archive"))], None
        )
    try:
        picture.load()
        pixels = np.asarray(picture)
    except Exception as fault:  # as above
        return MaskCheck([*wrong, ("unreadable", " ".join(str(fault).split()))], None)
    if getattr(picture, "n_frames", 1) > 1:
        return MaskCheck([*wrong, ("mode", "it is an animation")], None)
    if picture.mode == "P":
        return MaskCheck([*wrong, *_palette(picture), *_values(pixels)], pixels)
    if picture.mode == "L" and data[24] == 8 and pixels.max() < len(CLASSES):
        text = "mode L; `submit --masks_dir FOLDER` packs such masks with VOC's palette"
        return MaskCheck([*wrong, ("grey", text)], pixels)
    return MaskCheck([*wrong, ("mode", _mode(picture.mode, data[24]))], None)


def _mode(mode: str, bits: int) -> str:
    if mode.startswith("RGB") or mode in ("LA", "PA"):
        return f"it has mode {mode}: save class indices, not colours"
    kind = f"{bits} bit{'s' * (bits > 1)} a pixel"
    return f"it has mode {mode} ({kind}): save class indices 0..{len(CLASSES) - 1} with a palette"


def _palette(picture: Image.Image) -> list[tuple[str, str]]:
    """The first colour that is not VOC's; 255 counts where the palette goes as far."""
    flat = picture.getpalette("RGB") or []
    colours = [tuple(flat[at : at + 3]) for at in range(0, len(flat), 3)]
    if len(colours) < len(CLASSES):
        text = f"it has {len(colours)} colours, fewer than there are classes: give it VOC's 256"
        return [("palette", text)]
    for index in _COLOURS:
        if index < len(colours) and colours[index] != PALETTE[index]:
            text = (
                f"index {index} is {colours[index]}, in VOC {PALETTE[index]}; are the indices VOC's classes?"
            )
            return [("palette", text)]
    return []


def _values(pixels: npt.NDArray[np.uint8]) -> list[tuple[str, str]]:
    """The values that are no class, those of void apart: leaving 255 in is a mistake of its own."""
    void = pixels == IGNORE_INDEX
    other = (pixels >= len(CLASSES)) & ~void
    found = []
    for kind, where in (("void", void), ("values", other)):
        if where.any():
            y, x = (int(k) for k in np.argwhere(where)[0])
            values = np.unique(pixels[where])
            which = f"value {pixels[y, x]} at x={x}, y={y}"
            more = f" with {len(values)} such values" if len(values) > 1 else ""
            count = int(where.sum())
            found.append((kind, f"{which}; {count:,} pixel{'s' * (count > 1)}{more}"))
    return found


_SPARE = 1 << 20  # bytes beside a mask's pixels: headers, palette, text


@dataclass
class ArchiveScan:
    """What reading an archive gave.

    Attributes:
        files: The names of its files, in its order.
        folders: The names of its folders.
        odd: What links, devices and pipes are, by name.
        wrong: What is wrong with the content of files, with their names.
        tally: What the masks show; the first of an image, where there are several.
        broken: Why it could not be read to its end.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)
    wrong: list[tuple[str, Wrong]] = field(default_factory=list)
    tally: ClassCounts = field(default_factory=ClassCounts)
    broken: UnusableArchiveError | None = None

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def add(self, entry: Entry, sizes: Mapping[str, Size]) -> None:
        """Look at an entry, and at its content where it is named after an image."""
        name, header = entry.header.name, entry.header
        if header.isdir():
            self.folders.append(name)
        elif not header.isreg():
            self.odd[name] = (
                f"a link to '{shown(header.linkname)}'" if header.linkname else "a device or a pipe"
            )
        else:
            self.files.append(name)
            if (id := id_in(name, sizes)) is not None:
                self._look(name, id, entry, sizes[id])

    def _look(self, name: str, id: str, entry: Entry, size: Size) -> None:
        if entry.data is None:
            text = f"its {entry.header.size:,} bytes are more than a mask of {size[0]}x{size[1]} can take"
            self.wrong.append((name, ("unreadable", text)))
            return
        found = examine(entry.data, size)
        self.wrong += [(name, wrong) for wrong in found.wrong]
        if found.indices is not None and id not in self._seen:
            self._seen.add(id)
            self.tally.add(found.indices)


def read_contents(archive: Path, sizes: Mapping[str, Size], progress: bool) -> ArchiveScan:
    """Read an archive once, from front to end, unpacking nothing.

    Args:
        archive: A `.tar`, packed with gzip or not.
        sizes: Width and height of every image of the list, by id.
        progress: Show a bar.
    """
    contents = ArchiveScan()
    # Four bytes a pixel: masks with the mistake of RGBA are still to be looked at.
    room = {id: 4 * width * height + _SPARE for id, (width, height) in sizes.items()}

    def most_of(name: str) -> int:
        return room.get(posixpath.splitext(posixpath.basename(name))[0], 0)

    found = entries(archive, sum(room.values()) + 64 * _SPARE, 4 * len(sizes) + 1000, most_of)
    try:
        for entry in follow(found, "checking", len(sizes), progress):
            contents.add(entry, sizes)
    except UnusableArchiveError as fault:
        contents.broken = fault
    return contents


def check_archive(
    archive: Path, sizes: Mapping[str, Size], competition: int | None = None, progress: bool = True
) -> CheckResult:
    """Read an archive once and name everything that is wrong with it.

    Args:
        archive: A `.tar.gz`, `.tgz` or `.tar`; another is told apart.
        sizes: Width and height of every image of the list, by id.
        competition: The one that it should be for; None: the one whose folder it has.
        progress: Show a bar.

    Raises:
        UserError: If there is no such file.
    """
    packing = packing_fault(archive)
    contents = read_contents(archive, sizes, progress)
    competition = competition or competition_in(contents.files)
    faults = [SubmissionFault(archive.name, "archive", packing)] if packing else []
    nothing = contents.broken is not None and not contents.files
    if not (packing and nothing):  # what is no archive at all lacks more than masks
        faults += _faults(archive.name, contents, sizes, competition)
    return contents.tally.check(archive, competition, len(sizes), faults)


def _faults(
    archive: str, contents: ArchiveScan, sizes: Mapping[str, Size], competition: int
) -> list[SubmissionFault]:
    """Names, number and content of what was read."""
    faults = [SubmissionFault(archive, contents.broken.kind, str(contents.broken))] if contents.broken else []
    faults += [
        SubmissionFault(name, "link", f"{what}: pack files only") for name, what in contents.odd.items()
    ]
    for name in contents.files:
        wrong = wrong_name(name, sizes, competition)
        faults += [SubmissionFault(name, *wrong)] if wrong else []
    faults += _strays(contents.folders, [fault.member for fault in faults], competition)
    paths = Counter(posixpath.normpath(name) for name in [*contents.files, *contents.odd])
    faults += [
        SubmissionFault(path, "duplicate", f"{n} times: keep one") for path, n in paths.items() if n > 1
    ]
    faults += [SubmissionFault(name, *wrong) for name, wrong in contents.wrong]
    if contents.broken is None:  # else they may be in the part that was not read
        there = {id_in(name, sizes) for name in contents.files}
        absent = [member_of(competition, id) for id in sizes if id not in there]
        faults += [SubmissionFault(member, "missing", "add its mask") for member in absent]
    return faults


def _strays(folders: list[str], named: list[str], competition: int) -> list[SubmissionFault]:
    """Folders that do not lead to the masks, but for those in which a file was named already."""
    found: list[SubmissionFault] = []
    for name in folders:
        wrong = stray_folder(name, competition)
        below = f"{posixpath.normpath(name)}/"
        if wrong and not any(posixpath.normpath(each).startswith(below) for each in named):
            found.append(SubmissionFault(name, *wrong))
    return found
