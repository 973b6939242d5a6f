"""Archive of a data set: resumable download, checksum, unpacking."""

import hashlib
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock, Timeout

from vocseg.errors import Interrupted, UserError

STALL = 30.0  # seconds without a byte after which a source is given up
TRIES = 3  # consecutive attempts without new bytes
PAUSE = 1.0  # seconds before the second attempt; doubles with each further one
_CHUNK = 1 << 18
_RETRIED = {408, 425, 429, 500, 502, 503, 504}  # status codes of temporary failures


class SourceError(Exception):
    """A source failed, and a retry would not help."""


class TemporaryError(SourceError):
    """A source failed, and a retry may help."""


def addresses(mirrors: Sequence[str], name: str, known: Sequence[str], only: bool) -> list[str]:
    """Return the URLs to try, in order and without duplicates: mirrors, then unless `only`, the known ones.

    A mirror that ends with / is a folder that holds the archive, the file `name`.

    Raises:
        UserError: If a mirror is not an HTTP URL.
    """
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise UserError(
                f"--mirror {mirror} is not a valid URL. It must start with http:// or https:// "
                "(local file: --archive)."
            )
    own = [mirror + name if mirror.endswith("/") else mirror for mirror in mirrors]
    return list(dict.fromkeys([*own, *(() if only else known)]))


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
        lock = FileLock(root / ".download.lock")
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that downloads to {root}", flush=True)
            held = lock.acquire()
        with held:
            yield
    except OSError as error:
        raise UserError(
            f"{error.filename or root} cannot be read or written: {error.strerror}. Free some space there, "
            "or pass another folder with --root (fit: --data.root)."
        ) from error


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
            raise UserError(f"--archive {given} is not a file. Pass the file {self.name}.")
        return given

    def obtain(self, root: Path, sources: Sequence[str], given: Path | None, unpacked: int) -> Path:
        """Return the user's own file, or download it. Its MD5 is verified.

        Args:
            root: Folder that gets the archive.
            sources: URLs, tried in order.
            given: File of the user.
            unpacked: Bytes that its content needs; with those to download, they must be free.

        Raises:
            UserError: If there is no room, the file has another MD5, or no source has the right one.
        """
        own, part = self.local(root, given), self._part(root)
        needed = unpacked + (self.size - _size(part) if own is None else 0)
        free = shutil.disk_usage(root).free
        if free < needed:
            raise UserError(
                f"{self.title} needs {needed / 1e9:.1f} GB in {root}, but {free / 1e9:.1f} GB are free. "
                "Free some space there, or pass another folder with --root (fit: --data.root)."
            )
        if own is None:
            self._download(part, sources)
            return part
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
        self._part(root).unlink(missing_ok=True)

    def _part(self, root: Path) -> Path:
        return root / f"{self.name}.part"

    def _download(self, part: Path, sources: Sequence[str]) -> None:
        if _size(part):
            print(f"resuming {self.name} at {_size(part) / 1e6:,.0f} of {self.size / 1e6:,.0f} MB")
        reasons: list[str] = []
        for source in sources:
            try:
                return self._download_from(source, part)
            except SourceError as error:
                reasons.append(f"{host(source)}: {error}")
                print(f"  {reasons[-1]}", flush=True)
            except (KeyboardInterrupt, Interrupted):
                print(f"saved {_size(part) / 1e6:,.0f} of {self.size / 1e6:,.0f} MB: the next run resumes")
                raise
        raise UserError(
            f"{self.title} could not be downloaded: {'; '.join(reasons)}. Run this again to resume, pass "
            f"another --mirror, or get {self.name} (MD5 {self.md5}) by other means and run "
            f"`python -m vocseg download --dataset {self.dataset} --archive FILE`."
        )

    def _download_from(self, source: str, part: Path) -> None:
        """Complete a part, which may come from another source; then verify its MD5."""
        while True:
            resumed = _size(part) > 0
            _transfer(source, part, self.size)
            found = _md5(part)
            if found == self.md5:
                return
            part.unlink()
            if not resumed:
                raise SourceError(f"its file has MD5 {found}, not {self.md5}")
            print("the resumed file has a wrong MD5: downloading all of it again")


def _transfer(address: str, part: Path, size: int) -> None:
    """Complete a part of `size` bytes from one source. Received bytes stay in the part after an error."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    reached, failures = _size(part), 0
    with requests.Session() as session, Progress("{task.description}", *columns) as bar:
        task = bar.add_task(f"{part.stem} from {host(address)}", total=size)
        session.headers["Accept-Encoding"] = "identity"
        while _size(part) != size:
            try:
                _attempt(session, address, part, size, lambda here: bar.update(task, completed=here))
            except TemporaryError as error:
                failures = 0 if _size(part) > reached else failures + 1
                reached = max(reached, _size(part))
                if failures >= TRIES:
                    raise SourceError(str(error)) from None
                time.sleep(PAUSE * 2 ** max(0, failures - 1))


def _attempt(
    session: requests.Session, address: str, part: Path, size: int, report: Callable[[int], None]
) -> None:
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    if not start:
        session.headers.pop("If-Range", None)
    try:
        with session.get(address, headers=headers, stream=True, timeout=STALL) as response:
            if response.status_code == 416:
                part.unlink()
                raise TemporaryError("its file is shorter than the part on disk")
            _check(response, start, size)
            # Without it, bytes of two versions of the file would cost a second download.
            if (tag := response.headers.get("ETag", "")).startswith('"'):
                session.headers["If-Range"] = tag
            with part.open("ab" if response.status_code == 206 else "wb") as file:
                while chunk := response.raw.read1(_CHUNK):  # read waits for all bytes
                    if file.tell() + len(chunk) > size:
                        raise SourceError(f"more than {size:,} bytes")
                    file.write(chunk)
                    report(file.tell())
    except requests.exceptions.InvalidSchema as error:
        raise SourceError(str(error)) from None
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError):
        raise SourceError(f"no byte for {STALL:.0f} s") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise TemporaryError(f"no connection, or it was cut ({type(error).__name__})") from None
    if _size(part) < size:
        raise TemporaryError("the response ended early")


def _check(response: requests.Response, start: int, size: int) -> None:
    """Check that a response is the file, or its rest from `start` on."""
    status, headers = response.status_code, response.headers
    if status not in (200, 206):
        error = TemporaryError if status in _RETRIED else SourceError
        raise error(f"status {status} {response.reason}")
    if "html" in headers.get("Content-Type", ""):
        raise SourceError("a web page instead of the archive")
    if status == 206 and not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise SourceError(f"an invalid Content-Range ({headers.get('Content-Range')!r})")
    length = response.raw.length_remaining
    if length is not None and length != size - (start if status == 206 else 0):
        raise SourceError(f"a response of {length:,} bytes, which is not the archive of {size:,}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path) -> str:
    import rich.progress

    with rich.progress.open(path, "rb", description=f"checking {path.name}", transient=True) as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a verified archive into an existing folder, with a progress bar."""
    import rich.progress

    with (
        rich.progress.open(archive, "rb", description="unpacking") as file,
        tarfile.open(fileobj=file) as tar,
    ):
        tar.extractall(folder, filter="data")
