"""Download of an archive and its place on disk."""

import errno
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vocseg.data.download.http import PartialDownload
from vocseg.data.download.retry import PermanentError, RetryPolicy, host
from vocseg.errors import Interrupted, UserError

_ELSEWHERE = "free some space there, or name another folder with --root (--data.root for fit)"
_USERS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def alone_in(root: Path) -> Iterator[None]:
    """Make the folder, and work in it while no other process does.

    Raises:
        UserError: If it cannot be made or written to, or becomes full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserError(f"the folder {root} cannot be made ({fault.strerror}): name another one") from fault
    try:
        with _lock(root):
            yield
    except OSError as fault:
        if fault.errno not in _USERS:
            raise
        where = fault.filename or root
        raise UserError(f"{where} cannot be read or written ({fault.strerror}): {_ELSEWHERE}") from fault


def check_room(root: Path, title: str, fetch: int, unpack: int) -> None:
    """Refuse before anything is written.

    Args:
        root: An existing folder.
        title: What is to be put there.
        fetch: Bytes still to be fetched.
        unpack: Bytes that it takes unpacked.

    Raises:
        UserError: If less is free.
    """
    needed, free = fetch + unpack, shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"{title} needs {needed / 1e9:.1f} GB in {root} ({fetch / 1e9:.1f} to fetch, {unpack / 1e9:.1f} "
            f"unpacked), but {free / 1e9:.1f} GB are free: {_ELSEWHERE}"
        )


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    lock = FileLock(root / ".download.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is at work in {root}: waiting for it to finish")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Archive:
    """A known file.

    Args:
        title: What it holds.
        dataset: What the command line calls that.
        name: Its file name.
        md5: Its MD5, in hexadecimal.
        size: Its bytes.
    """

    title: str
    dataset: str
    name: str
    md5: str
    size: int

    def local(self, root: Path, given: Path | None) -> Path | None:
        """The file that the user has: the one named, else one under its usual name in the folder.

        Raises:
            UserError: If the one named is no file.
        """
        if given is None:
            return root / self.name if (root / self.name).is_file() else None
        if not given.is_file():
            what = "is a folder" if given.is_dir() else "is a pipe or a device"
            what = what if given.exists() else "does not exist"
            raise UserError(f"--archive {given} {what}: it must be the file {self.name}")
        return given

    def to_fetch(self, root: Path, given: Path | None) -> int:
        """Bytes that are still missing on this machine."""
        return 0 if self.local(root, given) else max(0, self.size - PartialDownload(root, self.name).size)

    def obtain(self, root: Path, sources: Sequence[str], given: Path | None, patience: RetryPolicy) -> Path:
        """A file with the right MD5: the user's own, else fetched.

        Raises:
            UserError: If the user's own is another one, or no source has the right one.
        """
        own = self.local(root, given)
        if own is None:
            return self._fetch(PartialDownload(root, self.name), sources, patience)
        found = _md5(own)
        if found != self.md5:
            raise UserError(
                f"{own} has MD5 {found}, not {self.md5}: it is incomplete or another file; "
                "get it anew, or move it away to have it fetched"
            )
        print(f"using {own}, which stays where it is")
        return own

    def discard(self, root: Path) -> None:
        """Remove what was fetched, once it is of no more use; never what is the user's."""
        part = PartialDownload(root, self.name)
        if part.size:
            print(f"removed the fetched archive ({part.size / 1e9:.1f} GB)")
        part.remove()

    def _fetch(self, part: PartialDownload, sources: Sequence[str], patience: RetryPolicy) -> Path:
        if 0 < part.size < self.size:
            print(f"going on with {self.name} at {_progress(part.size, self.size)}")
        faults = []
        for source in sources:
            try:
                self._fetch_from(source, part, patience)
                return part.path
            except PermanentError as fault:
                faults.append(f"{host(source)}: {fault}")
                if len(sources) > 1:  # a list, of which the refusal at the end repeats nothing
                    more = len(faults) < len(sources)
                    print(f"  {faults[-1]}{'; asking the next source' if more else ''}", flush=True)
            except (KeyboardInterrupt, Interrupted):
                print(f"kept {_progress(part.size, self.size)}: the next run goes on from there")
                raise
        why = f"from any of its {len(faults)} sources, whose reasons are above" if faults[1:] else ""
        why = why or f"({''.join(faults) or 'no source is named'})"
        raise UserError(
            f"{self.title} could not be fetched {why}: "
            f"run this again to go on, name another --mirror, or get {self.name} "
            f"(MD5 {self.md5}) by other means and run "
            f"`python -m vocseg download --dataset {self.dataset} --archive FILE`"
        )

    def _fetch_from(self, source: str, part: PartialDownload, patience: RetryPolicy) -> None:
        """Fetch what is missing; if old and new bytes do not fit together, all of it."""
        while True:
            begun = part.size > 0
            if part.size != self.size:
                self._transfer(source, part, patience)
            found = _md5(part.path)
            if found == self.md5:
                return
            part.remove()
            if not begun:
                raise PermanentError(f"its file has MD5 {found}, not {self.md5}")
            print("what was begun before is damaged or of another file: fetching all of it anew")

    def _transfer(self, source: str, part: PartialDownload, patience: RetryPolicy) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress
        from rich.progress import TimeRemainingColumn as TimeColumn
        from rich.progress import TransferSpeedColumn as SpeedColumn

        from vocseg.data.download.http import transfer  # imports requests, for which --help need not wait

        columns = (BarColumn(), DownloadColumn(), SpeedColumn(), TimeColumn())
        with Progress("[progress.description]{task.description}", *columns) as bar:
            task = bar.add_task(f"{self.title} from {host(source)}", total=self.size, completed=part.size)
            transfer(source, part, self.size, patience, lambda here: bar.update(task, completed=here))


def _md5(path: Path) -> str:
    import rich.progress

    with rich.progress.open(path, "rb", description=f"checking {path.name}", transient=True) as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _progress(here: int, size: int) -> str:
    return f"{here / 1e6:,.0f} of {size / 1e6:,.0f} MB"
