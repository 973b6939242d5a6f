"""Archive of a data set: sources, download, checksum, unpacking."""

import errno
import gzip
import hashlib
import lzma
import posixpath
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from vocseg.data.download.http import PartialDownload, PermanentError, RetryPolicy, transfer
from vocseg.errors import Interrupted, UserError, shown

_ELSEWHERE = "Free some space there, or pass another folder with --root (fit: --data.root)."
_OF_NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL}
_CORRUPT = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
_DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def addresses(mirrors: Sequence[str], name: str, known: Sequence[str], only: bool) -> list[str]:
    """Return the URLs to try, in order and without duplicates: mirrors, then unless `only`, the known ones.

    A mirror that ends with / is a folder that holds the archive, the file `name`.

    Raises:
        UserError: If a mirror is not an HTTP URL.
    """
    return list(dict.fromkeys([*(_address(mirror, name) for mirror in mirrors), *(() if only else known)]))


def _address(mirror: str, name: str) -> str:
    try:
        parts = urlsplit(mirror)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # e.g. a port that is not a number
        valid = False
    if not valid:
        raise UserError(
            f"--mirror {mirror} is not a valid URL. It must start with http:// or https:// and a host "
            "(local file: --archive)."
        )
    return mirror + name if mirror.endswith("/") else mirror


def host(address: str) -> str:
    """Return host and port of a URL, without a password."""
    return urlsplit(address).netloc.rpartition("@")[2]


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Create a folder and lock it against other downloads.

    Raises:
        UserError: If it cannot be created or written to, or the disk is full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {root} cannot be created: {error.strerror}. Pass another one."
        ) from error
    lock = FileLock(root / ".download.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that downloads to {root}", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        where = error.filename or root
        raise UserError(f"{where} cannot be read or written: {error.strerror}. {_ELSEWHERE}") from error


def check_room(root: Path, title: str, fetch: int, unpack: int) -> None:
    """Raise `UserError` if a folder has less free space than the bytes to `fetch` and to `unpack`."""
    needed, free = fetch + unpack, shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"{title} needs {needed / 1e9:.1f} GB in {root} ({fetch / 1e9:.1f} to download, "
            f"{unpack / 1e9:.1f} unpacked), but {free / 1e9:.1f} GB are free. {_ELSEWHERE}"
        )


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Args:
        title: Name of its data set.
        dataset: Value of `--dataset`.
        name: File name.
        md5: Checksum, hexadecimal.
        size: Size in bytes.
    """

    title: str
    dataset: str
    name: str
    md5: str
    size: int

    def local(self, root: Path, given: Path | None) -> Path | None:
        """Return the user's own file: `given`, or one with the usual name in `root`.

        Raises:
            UserError: If `given` is not a regular file.
        """
        if given is None:
            return root / self.name if (root / self.name).is_file() else None
        if not given.is_file():
            what = "is a folder" if given.is_dir() else "is a pipe or a device"
            what = what if given.exists() else "does not exist"
            raise UserError(f"--archive {given} {what}. Pass the file {self.name}.")
        return given

    def to_fetch(self, root: Path, given: Path | None) -> int:
        """Return the number of bytes to download."""
        return 0 if self.local(root, given) else max(0, self.size - PartialDownload(root, self.name).size)

    def obtain(self, root: Path, sources: Sequence[str], given: Path | None, policy: RetryPolicy) -> Path:
        """Return the user's own file, or download it; the MD5 is verified.

        Raises:
            UserError: If the user's file has another MD5, or no source provides the right one.
        """
        own = self.local(root, given)
        if own is None:
            return self._fetch(PartialDownload(root, self.name), sources, policy)
        found = _md5(own)
        if found != self.md5:
            raise UserError(
                f"{own} has MD5 {found}, not {self.md5}: it is incomplete or another file. "
                "Get it again, or move it away to download it."
            )
        print(f"using {own}; it is not removed")
        return own

    def discard(self, root: Path) -> None:
        """Remove the downloaded archive; never the user's own."""
        part = PartialDownload(root, self.name)
        if part.size:
            print(f"removed the downloaded archive ({part.size / 1e9:.1f} GB)")
        part.remove()

    def _fetch(self, part: PartialDownload, sources: Sequence[str], policy: RetryPolicy) -> Path:
        if 0 < part.size < self.size:
            print(f"resuming {self.name} at {_progress(part.size, self.size)}")
        reasons: list[str] = []
        for source in sources:
            try:
                self._fetch_from(source, part, policy)
                return part.path
            except PermanentError as error:
                reasons.append(f"{host(source)}: {error}")
                if len(sources) > 1:
                    more = len(reasons) < len(sources)
                    print(f"  {reasons[-1]}{'; trying the next source' if more else ''}", flush=True)
            except (KeyboardInterrupt, Interrupted):
                print(f"saved {_progress(part.size, self.size)}: the next run resumes there")
                raise
        # Several reasons were printed above.
        why = (
            f"all {len(reasons)} sources failed" if reasons[1:] else "".join(reasons) or "no source is given"
        )
        raise UserError(
            f"{self.title} could not be downloaded: {why}. Run this again to resume, pass another --mirror, "
            f"or get {self.name} (MD5 {self.md5}) by other means and run "
            f"`python -m vocseg download --dataset {self.dataset} --archive FILE`."
        )

    def _fetch_from(self, source: str, part: PartialDownload, policy: RetryPolicy) -> None:
        while True:
            resumed = part.size > 0
            if part.size != self.size:
                self._transfer(source, part, policy)
            found = _md5(part.path)
            if found == self.md5:
                return
            part.remove()
            if not resumed:
                raise PermanentError(f"its file has MD5 {found}, not {self.md5}")
            print("the resumed file has a wrong MD5: downloading all of it again")

    def _transfer(self, source: str, part: PartialDownload, policy: RetryPolicy) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn
        from rich.progress import TimeRemainingColumn as TimeColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeColumn())
        with Progress("[progress.description]{task.description}", *columns) as bar:
            task = bar.add_task(f"{self.title} from {host(source)}", total=self.size, completed=part.size)
            transfer(source, part, self.size, policy, lambda here: bar.update(task, completed=here))


def _md5(path: Path) -> str:
    import rich.progress

    with rich.progress.open(path, "rb", description=f"checking {path.name}", transient=True) as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _progress(here: int, size: int) -> str:
    return f"{here / 1e6:,.0f} of {size / 1e6:,.0f} MB"


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
