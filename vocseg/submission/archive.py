"""Tar archive of a submission.

Source: the VOC 2012 development kit, section on the submission of results.
"""

import gzip
import io
import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vocseg.data.mask_png import save_mask
from vocseg.errors import UserError, shown

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


_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a zip file",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf": "a 7-zip file",
    b"Rar!": "a rar file",
}


class UnusableArchiveError(Exception):
    """An archive that cannot be read further, with the kind of fault."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Entry(NamedTuple):
    """One entry of an archive; `data` is None where it is no plain file, or too large."""

    header: tarfile.TarInfo
    data: bytes | None


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than so many bytes, so that a few cannot become endlessly many."""

    def __init__(self, stream: gzip.GzipFile | BinaryIO, most: int) -> None:
        super().__init__()
        self._stream, self._left, self._most = stream, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            text = f"it unpacks to more than {self._most / 1e6:,.0f} MB: it was not read further"
            raise UnusableArchiveError("too-much", text)
        buffer[: len(data)] = data
        return len(data)


def packing_fault(archive: Path) -> str | None:
    """What is wrong with how an archive is packed; None: it is gzip, as its name says.

    Raises:
        UserError: If there is no such file.
    """
    start = _start(archive)
    named = archive.name.lower().endswith((".tar.gz", ".tgz"))
    for mark, what in _OTHERS.items():
        if start.startswith(mark):
            return f"it is {what}: pack it as .tar.gz"
    if not start.startswith(_GZIP):
        plain = bool(start) and _is_tar(archive)
        return "it is a plain tar: the server wants it compressed with gzip" if plain else "it is no archive"
    return None if named else "call it .tar.gz or .tgz"


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except Exception:  # headers that announce headers without end exceed Python's depth
        return False


def entries(
    archive: Path, most_bytes: int, most_entries: int, most_of: Callable[[str], int]
) -> Iterator[Entry]:
    """What an archive (`.tar`, or packed with gzip) holds, in its order.

    Args:
        archive: The file.
        most_bytes: How much it may unpack to.
        most_entries: How many entries it may have.
        most_of: The bytes that an entry of a given name may have, to be read.

    Raises:
        UnusableArchiveError: If it cannot be read to its end, or holds too much.
    """
    try:
        with archive.open("rb") as file:
            packed = _start(archive).startswith(_GZIP)
            stream = _Bounded(gzip.GzipFile(fileobj=file) if packed else file, most_bytes)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                yield from _entries(tar, most_entries, most_of)
            while stream.read(1 << 16):  # to the end, where the checksum is
                pass
    except UnusableArchiveError:
        raise
    except Exception as fault:  # beside its own errors, tarfile lets those of numbers and depth through
        said = shown(" ".join(str(fault).split()), 120) or type(fault).__name__
        raise UnusableArchiveError("archive-damaged", f"{said}: pack it anew") from fault


def _entries(tar: tarfile.TarFile, most: int, most_of: Callable[[str], int]) -> Iterator[Entry]:
    for count, header in enumerate(tar):
        if count >= most:
            raise UnusableArchiveError("too-much", f"more than {most:,} entries: it was not read further")
        file = tar.extractfile(header) if header.isreg() and header.size <= most_of(header.name) else None
        yield Entry(header, file.read() if file else None)


def _start(archive: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        UserError: If it cannot be read.
    """
    if archive.exists() and not archive.is_file():  # a pipe would be waited for without end
        raise UserError(f"--validate {archive}: is no plain file; name an archive")
    try:
        with archive.open("rb") as file:
            return file.read(8)
    except OSError as fault:
        raise UserError(f"--validate {archive}: cannot be read ({fault.strerror})") from fault


def encode(mask: npt.NDArray[np.uint8]) -> bytes:
    """A mask uint8 `[H,W]` as a PNG with VOC's palette."""
    stream = io.BytesIO()
    save_mask(mask, stream)
    return stream.getvalue()


def check_target(output: Path, replace: bool) -> None:
    """See before the work that the archive can be written.

    Raises:
        UserError: If its name is not that of a packed tar, there is a file already, or no folder for it.
    """
    if not output.name.endswith((".tar.gz", ".tgz")):
        raise UserError(f"--output {output}: the server takes .tar.gz (or .tgz): give it that ending")
    if output.is_dir() or (output.exists() and not replace):
        how = "name another file" if output.is_dir() else "name another, or add --replace true"
        raise UserError(f"--output {output} is there already: {how}")
    if not os.access(output.absolute().parent, os.W_OK):
        raise UserError(f"--output {output}: {output.absolute().parent} is no folder that can be written to")


@contextmanager
def written(output: Path, competition: int, masks: Mapping[str, bytes]) -> Iterator[Path]:
    """An archive under another name, which gets its own when the block ends well, and else is gone.

    Args:
        output: The file to write.
        competition: 5 or 6.
        masks: The content of every PNG, by id.

    Raises:
        UserError: If it cannot be written.
    """
    part = output.with_name(f".{os.getpid()}.{output.name}")  # with the ending that is checked
    try:
        _write(part, competition, masks)
        yield part
        os.replace(part, output)
    except OSError as fault:
        raise UserError(f"--output {output}: cannot be written ({fault.strerror})") from fault
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, competition: int, masks: Mapping[str, bytes]) -> None:
    """Times, owners and rights are the same for all, and gzip's own header names nothing."""
    with path.open("wb") as file:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for id in sorted(masks):
                header = tarfile.TarInfo(member_of(competition, id))
                header.size, header.mode = len(masks[id]), 0o644
                tar.addfile(header, io.BytesIO(masks[id]))
        file.flush()
        os.fsync(file.fileno())
