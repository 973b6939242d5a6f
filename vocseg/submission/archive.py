"""Tar archive of a submission: writing and checking.

Source: the VOC 2012 development kit, section on the submission of results.
"""

import gzip
import io
import posixpath
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.data.audit.files import damage
from vocseg.data.image_io import Bytes, save_mask
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_open

Size = tuple[int, int]  # width, height

_MOST_BYTES = 16 << 20  # of a mask; an image of VOC has a fiftieth of it uncompressed


class SubmissionFault(NamedTuple):
    """An error of an entry, or of the archive itself."""

    member: str
    kind: str  # archive, name, duplicate, missing, link, unreadable, size, mode, palette or values
    text: str


class CheckResult(NamedTuple):
    """Result of checking an archive, or a folder of masks."""

    archive: Path  # the file or folder
    competition: int
    images: int  # number of images in the split
    masks: int  # number of images with a valid mask
    faults: tuple[SubmissionFault, ...]

    @property
    def exit_code(self) -> int:
        """1 if there are errors, else 0."""
        return 1 if self.faults else 0


class InvalidMaskError(Exception):
    """A mask that the server would reject or score wrongly; the arguments are kind and text of its fault."""


def folder_of(competition: int) -> str:
    """Return the folder that holds the masks of a competition."""
    return f"results/VOC2012/Segmentation/comp{competition}_test_cls"


def encode(mask: Bytes) -> bytes:
    """Encode a mask uint8 `[H,W]` as a PNG with VOC's palette."""
    stream = io.BytesIO()
    save_mask(mask, stream)
    return stream.getvalue()


def decode(data: bytes, size: Size, allow_gray: bool = False) -> Bytes:
    """Decode a mask, and check format, mode, palette, values and size (width, height) of its image.

    With `allow_gray`, 8-bit class indices need no palette.

    Returns:
        Class indices uint8 `[H,W]`.

    Raises:
        InvalidMaskError: If it is not such a mask.
    """
    if not data.startswith(b"\x89PNG"):
        raise InvalidMaskError("unreadable", f"not a PNG: {len(data):,} bytes, beginning with {data[:12]!r}")
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            if text := damage(data):
                raise ValueError(text)
            image = Image.open(io.BytesIO(data), formats=("PNG",))
        pixels = np.asarray(image) if image.size == size else None
    except Exception as error:  # Pillow raises nearly anything on corrupt bytes
        raise InvalidMaskError("unreadable", shown(" ".join(str(error).split()), 200)) from error
    if pixels is None:
        raise InvalidMaskError("size", "{}x{}; its image is {}x{}".format(*image.size, *size))
    if image.mode == "P":
        flat = image.getpalette("RGB") or []
        for k, expected in enumerate(PALETTE[: len(CLASSES)]):
            if (found := tuple(flat[3 * k : 3 * k + 3])) != expected:
                raise InvalidMaskError("palette", f"index {k} is {found or 'absent'}, expected {expected}")
    elif not (allow_gray and image.mode == "L" and data[24] == 8):  # byte 24: bit depth
        raise InvalidMaskError("mode", f"mode {image.mode}, expected P with VOC's palette")
    if count := int((pixels >= len(CLASSES)).sum()):
        y, x = (int(k) for k in np.argwhere(pixels >= len(CLASSES))[0])
        note = " (ignore index)" if pixels[y, x] == IGNORE_INDEX else ""
        raise InvalidMaskError("values", f"value {pixels[y, x]}{note} at x={x}, y={y}; pixels: {count:,}")
    return pixels


def write_archive(output: Path, competition: int, masks: Mapping[str, bytes]) -> None:
    """Write PNGs by id; the same bytes for the same masks.

    Raises:
        UserError: If it cannot be written.
    """
    with (
        atomic_open(output) as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for id in sorted(masks):
            header = tarfile.TarInfo(f"{folder_of(competition)}/{id}.png")
            header.size, header.mode = len(masks[id]), 0o644
            tar.addfile(header, io.BytesIO(masks[id]))


def check_archive(archive: Path, sizes: Mapping[str, Size], competition: int | None = None) -> CheckResult:
    """Read an archive once and return its errors, one of each mask.

    Args:
        archive: A `.tar.gz` or `.tgz`.
        sizes: Width and height of each image of the split, by id.
        competition: 5 or 6; None: the one of most entries.

    Raises:
        UserError: If it is not a file.
    """
    if not archive.is_file():  # opening a pipe would block
        raise UserError(f"--validate {archive}: no such file. Pass an archive.")
    names, found, masks = list[str](), list[SubmissionFault](), set[str]()
    complete = False
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for header in tar:
                if header.isdir():
                    continue
                names.append(header.name)
                id = PurePosixPath(header.name).stem
                if header.name.endswith(".png") and id in sizes:
                    try:
                        decode(_content(tar, header), sizes[id])
                    except InvalidMaskError as error:
                        found.append(SubmissionFault(header.name, *error.args))
                    masks.add(id)
            while stream.read(1 << 20):  # its checksum is at the end
                pass
        complete = True
    except Exception as error:  # tarfile raises more than its own errors on corrupt headers
        reason = shown(" ".join(str(error).split()), 120) or type(error).__name__
        text = f"it cannot be read as .tar.gz ({reason}). Pack the masks again."
        found.insert(0, SubmissionFault(archive.name, "archive", text))
    competition = competition or (5 if sum("comp5_" in name for name in names) > len(names) / 2 else 6)
    found += _name_faults(names, sizes, competition)
    if complete:  # else a mask may be in the part that was not read
        missing = (f"{folder_of(competition)}/{id}.png" for id in sizes if id not in masks)
        found += [SubmissionFault(name, "missing", "") for name in missing]
    wrong = {PurePosixPath(fault.member).stem for fault in found}
    return CheckResult(archive, competition, len(sizes), len(masks - wrong), tuple(found))


def _content(tar: tarfile.TarFile, header: tarfile.TarInfo) -> bytes:
    if not header.isreg():
        raise InvalidMaskError("link", shown(header.linkname))
    if header.size > _MOST_BYTES:
        raise InvalidMaskError("unreadable", f"{header.size:,} bytes, more than a mask can have")
    content = tar.extractfile(header)
    assert content is not None  # it is a file
    return content.read()


def _name_faults(names: list[str], sizes: Mapping[str, Size], competition: int) -> Iterator[SubmissionFault]:
    folder = folder_of(competition)
    for name in dict.fromkeys(names):
        path = PurePosixPath(posixpath.normpath(name))
        if str(path.parent) != folder or path.suffix != ".png" or path.stem not in sizes:
            yield SubmissionFault(name, "name", f"expected {folder}/ID.png")
    counts = Counter(map(posixpath.normpath, names))
    yield from (SubmissionFault(path, "duplicate", f"{n} times") for path, n in counts.items() if n > 1)
