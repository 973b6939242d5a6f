"""Tar archive of a submission: writing and checking.

Source: the VOC 2012 development kit, section on the submission of results.
"""

import gzip
import io
import posixpath
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from vocseg.constants import CLASSES, IGNORE_INDEX, PALETTE
from vocseg.data.audit.files import damage
from vocseg.data.image_io import Bytes, save_mask
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_open
from vocseg.utils.progress import follow

Size = tuple[int, int]  # width, height

_COMPETITION = re.compile(r"results/VOC2012/Segmentation/comp(\d+)_test_cls/.*")
_MEGABYTE = 1 << 20
_SPARE = 64  # megabytes of an unpacked archive beside the pixels of its masks


class SubmissionFault(NamedTuple):
    """An error of an entry, or of the archive itself."""

    member: str
    kind: (
        str  # archive, competition, name, duplicate, missing, link, unreadable, size, mode, palette or values
    )
    text: str


class CheckResult(NamedTuple):
    """Result of checking an archive, or a folder of masks."""

    archive: Path  # the file or folder
    competition: int
    images: int  # number of images in the split
    masks: int  # number of images with a readable mask
    faults: tuple[SubmissionFault, ...]
    images_with: tuple[int, ...] = ()  # number of masks that contain each class

    @property
    def exit_code(self) -> int:
        """1 if there are errors, else 0."""
        return 1 if self.faults else 0


def folder_of(competition: int) -> str:
    """Return the folder that holds the masks of a competition."""
    return f"results/VOC2012/Segmentation/comp{competition}_test_cls"


def encode(mask: Bytes) -> bytes:
    """Encode a mask uint8 `[H,W]` as a PNG with VOC's palette."""
    stream = io.BytesIO()
    save_mask(mask, stream)
    return stream.getvalue()


def write_archive(
    output: Path, sizes: Mapping[str, Size], competition: int, masks: Mapping[str, bytes]
) -> CheckResult:
    """Write PNGs by id, the same bytes for the same masks, and read them back before the file is renamed.

    Raises:
        UserError: If it cannot be written.
    """
    results: list[CheckResult] = []

    def read_back(file: IO[bytes]) -> None:
        results.append(check_archive(Path(file.name), sizes, competition)._replace(archive=output))
        if results[0].faults:
            raise RuntimeError(f"{output} differs from the masks written into it: {results[0].faults[:5]}")

    with (
        atomic_open(output, read_back) as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for id in sorted(masks):
            header = tarfile.TarInfo(f"{folder_of(competition)}/{id}.png")
            header.size, header.mode = len(masks[id]), 0o644
            tar.addfile(header, io.BytesIO(masks[id]))
    return results[0]


def examine(data: bytes, size: Size, allow_gray: bool = False) -> tuple[list[tuple[str, str]], Bytes | None]:
    """Decode a mask and check format, mode, palette, values and size (width, height) of its image.

    With `allow_gray`, 8-bit class indices need no palette.

    Returns:
        Errors as (kind, text), and class indices uint8 `[H,W]` if it decodes to some.
    """
    if not data.startswith(b"\x89PNG"):
        return [("unreadable", f"not a PNG: it has {len(data):,} bytes, beginning with {data[:12]!r}")], None
    if (text := damage(data)) is not None:
        return [("unreadable", text)], None
    wrong = []
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data), formats=("PNG",))
        if image.size != size:
            wrong.append(("size", "{}x{}; its image is {}x{}".format(*image.size, *size)))
        if image.width * image.height > 4 * size[0] * size[1]:
            return wrong, None  # not decoded: the size alone may exhaust memory
        pixels = np.asarray(image)
    except Exception as error:  # Pillow raises nearly anything on corrupt bytes
        return [("unreadable", shown(" ".join(str(error).split()), 200))], None
    if image.mode == "P":
        flat = image.getpalette("RGB") or []
        colours = [tuple(flat[k : k + 3]) for k in range(0, 3 * len(CLASSES), 3)]
        pairs = enumerate(zip(colours, PALETTE, strict=False))
        others = (
            f"index {k} is {found or 'absent'}, expected {own}" for k, (found, own) in pairs if found != own
        )
        wrong += [("palette", text) for text in islice(others, 1)]
    elif not (allow_gray and image.mode == "L" and data[24] == 8):  # byte 24: bit depth
        return [*wrong, ("mode", f"mode {image.mode}, expected P with VOC's palette")], None
    if count := int((pixels >= len(CLASSES)).sum()):
        y, x = (int(k) for k in np.argwhere(pixels >= len(CLASSES))[0])
        note = " (ignore index)" if pixels[y, x] == IGNORE_INDEX else ""
        wrong.append(("values", f"value {pixels[y, x]}{note} at x={x}, y={y}; pixels: {count:,}"))
    return wrong, pixels


def check_archive(archive: Path, sizes: Mapping[str, Size], competition: int | None = None) -> CheckResult:
    """Read an archive once and return all of its errors.

    Args:
        archive: A `.tar.gz` or `.tgz`.
        sizes: Width and height of each image of the split, by id.
        competition: 5 or 6; None: the one of most entries.

    Raises:
        UserError: If it is not a file.
    """
    if not archive.is_file():  # opening a pipe would block
        raise UserError(f"--validate {archive}: no such file. Pass an archive.")
    entries, stopped = _read_entries(archive, sizes)
    found = [SubmissionFault(archive.name, "archive", f"{stopped}. Pack the masks again.")] if stopped else []
    names = [header.name for header, _ in entries]
    competition = competition or (5 if sum("comp5_" in n for n in names) > len(names) / 2 else 6)
    found += _name_faults(names, sizes, competition)
    decoded: dict[str, bool] = {}  # whether the mask of an id was decoded
    images_with = np.zeros(len(CLASSES), np.int64)
    for header, data in follow(entries, "checking", len(entries)):
        id = PurePosixPath(header.name).stem
        if not header.isreg():
            found.append(SubmissionFault(header.name, "link", shown(header.linkname)))
        elif header.name.endswith(".png") and id in sizes:
            wrong, indices = examine(data, sizes[id])
            found += [SubmissionFault(header.name, *each) for each in wrong]
            if indices is not None and not decoded.get(id):
                images_with += np.bincount(indices.ravel(), minlength=256)[: len(CLASSES)] > 0
            decoded[id] = decoded.get(id, False) or indices is not None
    if not stopped:  # else a mask may be in the part that was not read
        missing = (f"{folder_of(competition)}/{id}.png" for id in sizes if id not in decoded)
        found += [SubmissionFault(name, "missing", "") for name in missing]
    masks = sum(decoded.values())
    return CheckResult(archive, competition, len(sizes), masks, tuple(found), tuple(images_with.tolist()))


def _read_entries(
    archive: Path, sizes: Mapping[str, Size]
) -> tuple[list[tuple[tarfile.TarInfo, bytes]], str]:
    """Headers and contents of all entries but folders, and the reason if they are not all."""
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    most = _SPARE + 4 * sum(width * height for width, height in sizes.values()) // _MEGABYTE  # RGBA fits
    try:
        with gzip.open(archive) as stream:
            data = b"".join(islice(iter(lambda: stream.read(_MEGABYTE), b""), most))
            if stream.read(1):
                return [], "it unpacks to more bytes than masks of the split can need"
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for header in tar:
                if len(entries) >= 4 * len(sizes) + 1000:
                    return entries, f"it holds more than {len(entries):,} entries"
                if not header.isdir():
                    whole = header.isreg() and header.size <= len(data)  # a sparse file may be of any size
                    content = tar.extractfile(header) if whole else None
                    entries.append((header, content.read() if content else b""))
    except Exception as error:  # tarfile raises more than its own errors on corrupt headers
        reason = shown(" ".join(str(error).split()), 120) or type(error).__name__
        return entries, f"it cannot be read as .tar.gz ({reason})"
    return entries, ""


def _name_faults(names: list[str], sizes: Mapping[str, Size], competition: int) -> Iterator[SubmissionFault]:
    folder = folder_of(competition)
    for name in dict.fromkeys(names):
        path = PurePosixPath(posixpath.normpath(name))
        if (other := _COMPETITION.fullmatch(str(path))) and other[1] != str(competition):
            yield SubmissionFault(name, "competition", f"expected comp{competition}")
        elif str(path.parent) != folder or path.suffix != ".png" or path.stem not in sizes:
            yield SubmissionFault(name, "name", f"expected {folder}/ID.png")
    counts = Counter(map(posixpath.normpath, names))
    yield from (SubmissionFault(path, "duplicate", f"{n} times") for path, n in counts.items() if n > 1)
