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

from vocseg.errors import UserError, shown

_OF_NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL}
_CORRUPT = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


@contextmanager
def opened(archive: Path, description: str) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not, with a progress bar.

    Raises:
        UserError: If it is not a complete tar archive.
    """
    import rich.progress

    with rich.progress.open(archive, "rb", description=description) as file:
        with _reading(archive, (Exception,)):  # tarfile raises more than its own errors on corrupt headers
            tar = tarfile.open(fileobj=file)  # noqa: SIM115
        with _reading(archive, _CORRUPT), tar:
            yield tar


@contextmanager
def _reading(archive: Path, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Convert errors of reading an archive, but not those of the disk."""
    try:
        yield
    except errors as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = shown(error) or type(error).__name__
        raise UserError(f"{archive} is not a complete tar archive: {reason}. Get it again.") from error


def members(tar: tarfile.TarFile, archive: Path, folder: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the checked entries of an archive, in order.

    Raises:
        UserError: If an entry or its link leaves the folder, is a device or a pipe, or is a duplicate.
    """
    seen: set[str] = set()
    entries = iter(tar)
    while True:
        with _reading(archive, (Exception,)):
            member = next(entries, None)
        if member is None:
            return
        name = posixpath.normpath(member.name)
        error = "is a duplicate" if name in seen else _error(member, folder)
        if error:
            raise UserError(f"the entry '{shown(member.name)}' of {archive} {error}. Nothing was unpacked.")
        if not member.isdir():
            seen.add(name)
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
            except Exception as error:  # e.g. a link to no entry, an invalid time
                if isinstance(error, OSError) and error.errno not in _OF_NAMES:
                    raise  # of the disk
                reason = error.strerror if isinstance(error, OSError) else type(error).__name__
                raise UserError(
                    f"the entry '{shown(member.name)}' of {archive} cannot be unpacked: {reason}. "
                    "Nothing was unpacked."
                ) from error


def _error(member: tarfile.TarInfo, folder: Path) -> str | None:
    """Error of an entry, by its text and by the path that the system would resolve."""
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
        return "has an invalid name"
    return None


def _leaves(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in posixpath.normpath(name).split("/")
