"""Resumable HTTP download."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
import urllib3

OVERLAP = 1 << 16  # bytes requested again on resume, to compare them with those on disk
_CHUNK = 1 << 18
_RETRIED = {408, 425, 429, 500, 502, 503, 504}  # status codes of temporary failures


class PermanentError(Exception):
    """A source failed, and a retry would not help."""


class TransientError(Exception):
    """A source failed, and a retry may help."""


@dataclass(frozen=True)
class RetryPolicy:
    """Limits after which a source is given up.

    Args:
        stall: Seconds without a byte.
        crawl: Minimum speed in bytes per second.
        window: Seconds over which the speed is averaged.
        tries: Consecutive attempts without new bytes.
        pause: Seconds before the second attempt; doubles with each further one.
    """

    stall: float = 30.0
    crawl: float = 2_000.0  # at which VOC would take twelve days
    window: float = 60.0
    tries: int = 3
    pause: float = 1.0


DEFAULT_POLICY = RetryPolicy()


@dataclass(frozen=True)
class PartialSource:
    """The remote file of a partial download.

    Args:
        address: Requested URL.
        validator: Strong ETag, else Last-Modified; None: the server sent neither.
        size: Size in bytes; None: the server did not send it.
    """

    address: str
    validator: str | None
    size: int | None


class PartialDownload:
    """`NAME.part` and `NAME.part.json`, which describes its source.

    A part without a valid description counts as empty.

    Args:
        folder: Folder of both files.
        name: File name of the archive.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self._source_path = folder / f"{name}.part", folder / f"{name}.part.json"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size if self.path.is_file() and self.source else 0

    @property
    def source(self) -> PartialSource | None:
        """Source of the bytes; None: unknown."""
        try:
            source = PartialSource(**json.loads(self._source_path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        valid = isinstance(source.address, str) and isinstance(source.validator, str | None)
        return source if valid else None

    def set_source(self, source: PartialSource) -> None:
        """Record the source, atomically."""
        fresh = self._source_path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(source)) + "\n")
        fresh.replace(self._source_path)

    def remove(self) -> None:
        """Delete both files."""
        self.path.unlink(missing_ok=True)
        self._source_path.unlink(missing_ok=True)


class _Body:
    """The body of a response, read with a minimum speed."""

    def __init__(self, response: requests.Response, policy: RetryPolicy) -> None:
        self._raw, self._policy = response.raw, policy
        self._since, self._bytes = time.monotonic(), 0

    def read(self, most: int = _CHUNK) -> bytes:
        """Return the next bytes as soon as there are any; none at the end."""
        try:
            # read1: read waits for all `most` bytes. Not decoded: .tgz stays .tgz.
            chunk: bytes = self._raw.read1(most, decode_content=False) or b""
        except urllib3.exceptions.ReadTimeoutError:
            raise PermanentError("it stopped sending") from None
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(f"the connection was cut ({type(error).__name__})") from None
        self._bytes += len(chunk)
        seconds = time.monotonic() - self._since
        if chunk and seconds >= self._policy.window:
            if self._bytes < self._policy.crawl * seconds:
                raise PermanentError(f"only {self._bytes / seconds:,.0f} bytes a second for {seconds:.0f} s")
            self._since, self._bytes = time.monotonic(), 0
        return chunk


def transfer(
    address: str, part: PartialDownload, size: int, policy: RetryPolicy, report: Callable[[int], None]
) -> None:
    """Complete a partial download from one source.

    Bytes on disk are kept if the server still has the same version of the file. At another server, the size
    and the last `OVERLAP` bytes must be equal; the caller verifies the checksum.

    Args:
        address: URL, http:// or https://.
        part: The partial download.
        size: Size of the complete file in bytes.
        policy: Limits after which the source is given up.
        report: Called with the number of bytes on disk.

    Raises:
        PermanentError: If the source does not provide the file; received bytes stay in the part.
    """
    reached, failures = part.size, 0
    with requests.Session() as session:  # follows redirections, uses the proxies of the environment
        while part.size != size:
            try:
                _attempt(session, address, part, size, policy, report)
            except TransientError as error:
                failures = 0 if part.size > reached else failures + 1
                reached = max(reached, part.size)
                if failures >= policy.tries:
                    raise PermanentError(str(error)) from None
                time.sleep(policy.pause * 2 ** max(0, failures - 1))


def _attempt(
    session: requests.Session,
    address: str,
    part: PartialDownload,
    size: int,
    policy: RetryPolicy,
    report: Callable[[int], None],
) -> None:
    old = part.source
    start = max(0, part.size - OVERLAP) if part.size < size else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if old and old.address == address and old.validator:
            headers["If-Range"] = old.validator  # the complete file, if the version differs
    try:
        response = session.get(address, headers=headers, stream=True, timeout=policy.stall)
    except requests.exceptions.ReadTimeout:
        raise PermanentError(f"no answer for {policy.stall:.0f} s") from None
    except requests.ConnectionError:
        raise TransientError("no connection") from None
    except requests.RequestException as error:
        raise PermanentError(f"{type(error).__name__}") from None
    with response:
        if response.status_code == 416:
            part.remove()
            raise TransientError("its file is shorter than the part on disk")
        first, source = _inspect(address, response)
        if source.size not in (None, size):
            raise PermanentError(f"a file of {source.size:,} bytes, not {size:,}")
        body = _Body(response, policy)
        if first:
            _compare_overlap(body, first, start, source, part)
        else:
            part.path.write_bytes(b"")
        part.set_source(source)
        report(part.size)
        _append(body, part, size, report)


def _inspect(address: str, response: requests.Response) -> tuple[int, PartialSource]:
    """Position of the body's first byte in the file, and the source."""
    headers, status = response.headers, response.status_code
    if status not in (200, 206):
        kind = TransientError if status in _RETRIED else PermanentError
        raise kind(f"status {status} {response.reason}")
    content = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content in ("text/html", "application/xhtml+xml"):
        raise PermanentError("a web page instead of the archive")
    first, size = 0, headers.get("Content-Length", "")
    if status == 206:
        text = headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
        if not found:
            raise PermanentError(f"an invalid Content-Range ({text!r})")
        first, size = int(found[1]), found[2]
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified")  # weak tags allow other bytes
    return first, PartialSource(address, validator, int(size) if size.isdecimal() else None)


def _compare_overlap(
    body: _Body, first: int, start: int, source: PartialSource, part: PartialDownload
) -> None:
    """Read the bytes that are on disk already, which must be equal."""
    if first != start:
        raise PermanentError(f"bytes from {first:,} on, not from {start:,} on as requested")
    with part.path.open("rb") as file:
        file.seek(start)
        expected = file.read()
    found = bytearray()
    while len(found) < len(expected) and (chunk := body.read(len(expected) - len(found))):
        found += chunk
    old = part.source
    # Some servers send the range even where If-Range does not match.
    other = old is not None and old.address == source.address and old.validator != source.validator
    if other or bytes(found) != expected[: len(found)]:
        part.remove()
        raise TransientError("its file differs from the part on disk")
    if len(found) < len(expected):
        raise TransientError("the response ended early")


def _append(body: _Body, part: PartialDownload, size: int, report: Callable[[int], None]) -> None:
    written = part.size
    with part.path.open("ab") as file:
        while chunk := body.read():
            written += len(chunk)
            if written > size:
                break
            file.write(chunk)
            report(written)
    if written > size:
        part.remove()
        raise PermanentError(f"more than {size:,} bytes")
    if written < size:
        raise TransientError("the response ended early")
