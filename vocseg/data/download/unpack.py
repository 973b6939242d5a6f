"""Unpacking of tar archives."""

import errno
import gzip
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vocseg.errors import UserError, shown

_OF_NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL}


@contextmanager
def opened(archive: Path, description: str) -> Iterator[tarfile.TarFile]:
    """A tar archive, packed or not, with a bar that shows how far it is read.

    Raises:
        UserError: If it is no such archive, or damaged.
    """
    import rich.progress

    try:
        with (
            rich.progress.open(archive, "rb", description=description) as file,
            _tar(file, archive) as tar,
        ):
            yield tar
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as fault:
        raise _broken(archive, fault) from fault


def _tar(file: BinaryIO, archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file)
    except Exception as fault:  # as in `_next`
        if isinstance(fault, OSError) and fault.errno is not None:
            raise  # the disk's
        raise _broken(archive, fault) from fault


def _broken(archive: Path, fault: Exception) -> UserError:
    return UserError(
        f"{archive} is not a whole tar archive ({shown(fault) or type(fault).__name__}): get it anew"
    )


def members(tar: tarfile.TarFile, archive: Path, folder: Path) -> Iterator[tarfile.TarInfo]:
    """What an archive holds, in its order, each entry checked before it is handed out.

    Raises:
        UserError: If an entry leaves the folder, is a link that does, is no file, folder or link, or is there
            twice.
    """
    seen: set[str] = set()
    entries = iter(tar)
    while (member := _next(entries, archive)) is not None:
        fault = _fault(member, folder) or ("is there twice" if _name(member) in seen else None)
        if fault:
            raise UserError(
                f"the entry '{shown(member.name)}' of {archive} {fault}: nothing of it was unpacked"
            )
        if not member.isdir():
            seen.add(_name(member))
        yield member


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into an existing folder.

    Raises:
        UserError: As `opened` and `members`, and if an entry's name or content cannot become a file.
    """
    with opened(archive, "unpacking") as tar:
        for member in members(tar, archive, folder):
            try:
                tar.extract(member, folder, filter="data")
            except tarfile.TarError:
                raise
            except OSError as fault:
                if fault.errno not in _OF_NAMES:
                    raise  # the disk's
                raise _impossible(member, archive, fault.strerror) from fault
            except Exception as fault:  # a link to no entry, a time that is none
                raise _impossible(member, archive, type(fault).__name__) from fault


def _next(entries: Iterator[tarfile.TarInfo], archive: Path) -> tarfile.TarInfo | None:
    """The next entry; None: there is no more."""
    try:
        return next(entries, None)
    except Exception as fault:  # tarfile lets through what numbers and packings make it stumble over
        if isinstance(fault, OSError) and fault.errno is not None:
            raise  # the disk's
        raise _broken(archive, fault) from fault


def _impossible(member: tarfile.TarInfo, archive: Path, why: str | None) -> UserError:
    return UserError(
        f"the entry '{shown(member.name)}' of {archive} cannot be unpacked ({why}): "
        "nothing of it was unpacked"
    )


def _fault(member: tarfile.TarInfo, folder: Path) -> str | None:
    """What is wrong with an entry: seen in its text, and in where the system would put it."""
    if _leaves(member.name):
        return "leaves the folder"
    base = posixpath.dirname(member.name) if member.issym() else ""
    if (member.issym() or member.islnk()) and _leaves(posixpath.join(base, member.linkname)):
        return f"is a link to '{shown(member.linkname)}', which leaves the folder"
    try:
        tarfile.data_filter(member, str(folder))
    except tarfile.SpecialFileError:
        return "is a device or a pipe"
    except tarfile.FilterError:
        return "leaves the folder"
    except (OSError, ValueError):
        return "has a name that is none"
    return None


def _leaves(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in posixpath.normpath(name).split("/")


def _name(member: tarfile.TarInfo) -> str:
    return posixpath.normpath(member.name)
