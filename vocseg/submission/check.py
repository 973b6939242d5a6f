"""Checks of a submission archive."""

import gzip
import io
import posixpath
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.data.audit.checks_files import stream_fault
from vocseg.errors import UserError, shown
from vocseg.submission.archive import SUFFIXES, folder_of
from vocseg.utils.progress import follow

KINDS = {
    "archive": "the archive is not a complete .tar.gz of masks",
    "link": "the entry is a link, a device or a pipe",
    "competition": "the entry is in the folder of another competition",
    "name": "the entry is not FOLDER/ID.png of an image of the split",
    "duplicate": "the archive holds the entry more than once",
    "missing": "an image of the split has no mask",
    "unreadable": "the file is not a valid PNG",
    "mode": "the PNG is not a palette image (mode P) of class indices",
    "palette": "the palette differs from VOC's",
    "values": "the mask holds values that are not a class",
    "size": "the mask and its image differ in size",
}

Size = tuple[int, int]  # width, height
_COMPETITION = re.compile(r"results/VOC2012/Segmentation/comp(\d+)_test_cls/.*")
_SPARE = 1 << 20  # bytes beside a mask's pixels: headers, palette, text


class SubmissionFault(NamedTuple):
    """An error of an entry, or of the archive itself; `kind` is one of `KINDS`."""

    member: str
    kind: str
    text: str


@dataclass(frozen=True)
class CheckResult:
    """Result of checking an archive, or a folder of masks.

    Attributes:
        archive: The file or folder.
        competition: 5 or 6.
        images: Number of images in the split.
        masks: Number of images with a readable mask.
        faults: Errors.
        images_with: Number of masks that contain each class.
    """

    archive: Path
    competition: int
    images: int
    masks: int
    faults: tuple[SubmissionFault, ...]
    images_with: tuple[int, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if there are errors, else 0."""
        return 1 if self.faults else 0


class MaskCheck(NamedTuple):
    """Errors of a mask file as (kind, text), and its class indices uint8 `[H,W]` if it decodes to some."""

    wrong: list[tuple[str, str]]
    indices: npt.NDArray[np.uint8] | None


def examine(data: bytes, size: Size, allow_gray: bool = False) -> MaskCheck:
    """Decode a mask and check format, mode, palette, values and size.

    Args:
        data: Content of the file.
        size: Width and height of its image.
        allow_gray: Accept 8-bit class indices without a palette.
    """
    if not data.startswith(b"\x89PNG"):
        return MaskCheck(
            [("unreadable", f"not a PNG: it has {len(data):,} bytes, beginning with {data[:12]!r}")], None
        )
    damage = stream_fault(data)
    if damage is not None:
        return MaskCheck([("unreadable", damage.text.partition(": restore")[0])], None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("PNG",))
            wrong = []
            if image.size != size:
                found, expected = ("{}x{}".format(*each) for each in (image.size, size))
                wrong.append(("size", f"{found}; its image is {expected}"))
            if image.width * image.height > 4 * size[0] * size[1]:
                return MaskCheck(wrong, None)  # not decoded: the size alone may exhaust memory
            pixels = np.asarray(image)
    except Exception as error:  # Pillow raises nearly anything on corrupt bytes
        return MaskCheck([("unreadable", shown(" ".join(str(error).split()), 200))], None)
    if image.mode == "P":
        wrong += _palette(image)
    elif not (allow_gray and image.mode == "L" and data[24] == 8):  # byte 24: bit depth
        return MaskCheck([*wrong, ("mode", f"mode {image.mode}, expected P with VOC's palette")], None)
    return MaskCheck([*wrong, *_values(pixels)], pixels)


def _palette(image: Image.Image) -> list[tuple[str, str]]:
    """The first colour that differs from VOC's."""
    flat = image.getpalette("RGB") or []
    for index in range(len(CLASSES)):
        colour = tuple(flat[3 * index : 3 * index + 3])
        if colour != PALETTE[index]:
            return [("palette", f"index {index} is {colour or 'absent'}, expected {PALETTE[index]}")]
    return []


def _values(pixels: npt.NDArray[np.uint8]) -> list[tuple[str, str]]:
    where = pixels >= len(CLASSES)
    if not where.any():
        return []
    y, x = (int(k) for k in np.argwhere(where)[0])
    note = " (ignore index)" if pixels[y, x] == IGNORE_INDEX else ""
    return [("values", f"value {pixels[y, x]}{note} at x={x}, y={y}; pixels: {int(where.sum()):,}")]


class _ArchiveError(Exception):
    """An archive that cannot be read further."""


class _Bounded(io.RawIOBase):
    """A gzip stream that raises after a number of unpacked bytes."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        super().__init__()
        self._stream, self._left = stream, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise _ArchiveError("it unpacks to more bytes than masks of the split can need")
        buffer[: len(data)] = data
        return len(data)


def _entries(archive: Path, room: Mapping[str, int]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Headers, and contents of files that fit in `room`: bytes of a mask by id."""
    try:
        with archive.open("rb") as file:
            stream = _Bounded(gzip.GzipFile(fileobj=file), sum(room.values()) + 64 * _SPARE)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for count, header in enumerate(tar):
                    if count >= 4 * len(room) + 1000:
                        raise _ArchiveError(f"it holds more than {count:,} entries")
                    small = header.isreg() and header.size <= room.get(PurePosixPath(header.name).stem, 0)
                    content = tar.extractfile(header) if small else None
                    yield header, content.read() if content else b""
            while stream.read(1 << 16):  # the checksum is at the end
                pass
    except _ArchiveError:
        raise
    except Exception as error:  # tarfile raises more than its own errors on corrupt headers
        reason = shown(" ".join(str(error).split()), 120) or type(error).__name__
        raise _ArchiveError(f"it cannot be read as .tar.gz ({reason})") from error


def check_archive(
    archive: Path, sizes: Mapping[str, Size], competition: int | None = None, progress: bool = True
) -> CheckResult:
    """Read an archive once and return all of its errors.

    Args:
        archive: A `.tar.gz` or `.tgz`.
        sizes: Width and height of each image of the split, by id.
        competition: 5 or 6; None: the one of most entries.
        progress: Show a progress bar.

    Raises:
        UserError: If it is not a file.
    """
    if not archive.is_file():  # opening a pipe would block
        raise UserError(f"--validate {archive}: no such file. Pass an archive.")
    faults = []
    if not archive.name.endswith(SUFFIXES):
        faults.append(SubmissionFault(archive.name, "archive", "its name does not end in .tar.gz or .tgz"))
    names: list[str] = []
    contents: dict[str, bool] = {}  # id: its mask was decoded
    images_with = np.zeros(len(CLASSES), np.int64)
    room = {id: 4 * width * height + _SPARE for id, (width, height) in sizes.items()}  # RGBA fits
    in_content: list[SubmissionFault] = []
    complete = True
    try:
        for header, data in follow(_entries(archive, room), "checking", len(sizes), progress):
            name, id = header.name, PurePosixPath(header.name).stem
            if header.isdir():
                continue
            names.append(name)
            if not header.isreg():
                faults.append(SubmissionFault(name, "link", shown(header.linkname)))
            elif name.endswith(".png") and id in sizes:
                if header.size > room[id]:
                    wrong, indices = [("unreadable", f"{header.size:,} bytes are too many for a mask")], None
                else:
                    wrong, indices = examine(data, sizes[id])
                in_content += [SubmissionFault(name, *each) for each in wrong]
                if indices is not None and not contents.get(id):
                    images_with += np.bincount(indices.ravel(), minlength=256)[: len(CLASSES)] > 0
                contents[id] = contents.get(id, False) or indices is not None
    except _ArchiveError as error:
        complete = False
        faults.append(SubmissionFault(archive.name, "archive", f"{error}. Pack the masks again."))
    competition = competition or (5 if sum("comp5_" in n for n in names) > len(names) / 2 else 6)
    faults += [*_check_names(names, sizes, competition), *in_content]
    if complete:  # else a mask may be in the part that was not read
        absent = [id for id in sizes if id not in contents]
        faults += [SubmissionFault(f"{folder_of(competition)}/{id}.png", "missing", "") for id in absent]
    masks = sum(contents.values())
    return CheckResult(archive, competition, len(sizes), masks, tuple(faults), tuple(images_with.tolist()))


def _check_names(names: list[str], sizes: Mapping[str, Size], competition: int) -> list[SubmissionFault]:
    folder = folder_of(competition)
    expected = {f"{folder}/{id}.png" for id in sizes}
    faults = []
    for name in dict.fromkeys(names):
        path = posixpath.normpath(name)
        if (other := _COMPETITION.fullmatch(path)) and other[1] != str(competition):
            faults.append(SubmissionFault(name, "competition", f"expected comp{competition}"))
        elif path not in expected:
            faults.append(SubmissionFault(name, "name", f"expected {folder}/ID.png"))
    counts = Counter(map(posixpath.normpath, names))
    return faults + [SubmissionFault(path, "duplicate", f"{n} times") for path, n in counts.items() if n > 1]
