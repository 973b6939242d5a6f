"""Reading tar archives without trusting what they say."""

import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocseg.errors import UserError


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
            tarfile.open(fileobj=file) as tar,
        ):
            yield tar
    except (tarfile.ReadError, EOFError) as fault:
        raise UserError(f"{archive} is not a whole tar archive ({fault}): get it anew") from fault


def members(tar: tarfile.TarFile, archive: Path, folder: Path) -> Iterator[tarfile.TarInfo]:
    """What an archive holds, in its order, each entry checked before it is handed out.

    Raises:
        UserError: If an entry leaves the folder, is a link that does, is no file, folder or link, or is there
            twice.
    """
    seen: set[str] = set()
    for member in tar:
        fault = _fault(member, folder) or ("is there twice" if _name(member) in seen else None)
        if fault:
            raise UserError(f"the entry '{member.name}' of {archive} {fault}: nothing of it was unpacked")
        if not member.isdir():
            seen.add(_name(member))
        yield member


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into an existing folder.

    Raises:
        UserError: As `opened` and `members`.
    """
    with opened(archive, "unpacking") as tar:
        for member in members(tar, archive, folder):
            tar.extract(member, folder, filter="data")


def _fault(member: tarfile.TarInfo, folder: Path) -> str | None:
    """What is wrong with an entry: seen in its text, and in where the system would put it."""
    if _leaves(member.name):
        return "leaves the folder"
    base = posixpath.dirname(member.name) if member.issym() else ""
    if (member.issym() or member.islnk()) and _leaves(posixpath.join(base, member.linkname)):
        return f"is a link to '{member.linkname}', which leaves the folder"
    try:
        tarfile.data_filter(member, str(folder))
    except tarfile.SpecialFileError:
        return "is a device or a pipe"
    except tarfile.FilterError:
        return "leaves the folder"
    return None


def _leaves(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in posixpath.normpath(name).split("/")


def _name(member: tarfile.TarInfo) -> str:
    return posixpath.normpath(member.name)
