"""Resumable HTTP download."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
import urllib3

from vocseg.data.download.retry import PermanentError, RetryPolicy, SpeedMonitor, TransientError

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be gone at the next attempt
_CHUNK = 1 << 18


class RangeResponse:
    """A server's answer; its body is not read yet.

    Args:
        address: Where it was asked for, before any redirection.
        response: The open answer.
        patience: Its `crawl` limits how slowly the body may come.

    Raises:
        Broken: If the server is busy or failing for now.
        Refused: If it has no such file, or answers with a web page.
    """

    def __init__(self, address: str, response: requests.Response, patience: RetryPolicy) -> None:
        self._response, self._pace = response, SpeedMonitor(patience)
        status, kind = response.status_code, response.headers.get("Content-Type", "")
        if status in _PASSING:
            raise TransientError(f"status {status} {response.reason}")
        if status not in (200, 206, 416):
            raise PermanentError(f"status {status} {response.reason}")
        if kind.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml") and status != 416:
            raise PermanentError("a web page instead of the archive")
        self.unsatisfiable = status == 416
        self.start, size = self._range() if status == 206 else (0, self._length())
        self.origin = PartialSource(address, self._validator(), size)

    def read(self, most: int = _CHUNK) -> bytes:
        """The next bytes, as soon as there are any; none at the end.

        Raises:
            Broken: If the connection is cut before the end.
            Refused: If no byte, or too few, come for too long.
        """
        try:
            # read1, since read waits until all that is asked for is there; undecoded: .tgz stays .tgz
            chunk: bytes = self._response.raw.read1(most, decode_content=False) or b""
        except urllib3.exceptions.ReadTimeoutError:
            raise PermanentError("it stopped sending") from None
        except urllib3.exceptions.HTTPError as fault:
            raise TransientError(f"the connection was cut ({type(fault).__name__})") from None
        self._pace.count(len(chunk))
        return chunk

    def _length(self) -> int | None:
        text = self._response.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    def _range(self) -> tuple[int, int | None]:
        """First byte and whole size that a partial answer tells."""
        text = self._response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
        if not found:
            raise PermanentError(f"a range that cannot be read ({text!r})")
        return int(found[1]), None if found[2] == "*" else int(found[2])

    def _validator(self) -> str | None:
        tag = self._response.headers.get("ETag", "")
        strong = tag if tag.startswith('"') else None  # a weak one does not promise the same bytes
        return strong or self._response.headers.get("Last-Modified")


@contextmanager
def ask(
    session: requests.Session, address: str, start: int, validator: str | None, patience: RetryPolicy
) -> Iterator[RangeResponse]:
    """Ask for a file from one of its bytes on.

    Args:
        session: Follows redirections, and heeds the proxies of the environment.
        address: http:// or https://.
        start: The first byte wanted; 0: the whole file, in a plain request.
        validator: Give the rest only if the file is still this one, else the whole.
        patience: Its `stall` limits connecting and every wait for bytes.

    Raises:
        Broken: If there is no connection, or the server is failing for now.
        Refused: If the server does not serve.
    """
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if start and validator:
        headers["If-Range"] = validator
    try:
        response = session.get(address, headers=headers, stream=True, timeout=patience.stall)
    except requests.exceptions.ReadTimeout:
        raise PermanentError(f"no answer for {patience.stall:.0f} s") from None
    except requests.ConnectionError:
        raise TransientError("no connection") from None
    except requests.RequestException as fault:
        raise PermanentError(f"{type(fault).__name__}") from None
    with response:
        yield RangeResponse(address, response, patience)


@dataclass(frozen=True)
class PartialSource:
    """The file at the server whose first bytes are here.

    Args:
        address: Where it was asked for.
        validator: What the server tells its versions apart by: a strong ETag, else a date; None: nothing.
        size: Its bytes in all; None: the server did not say.
    """

    address: str
    validator: str | None
    size: int | None


class PartialDownload:
    """`NAME.part` in a folder, and `NAME.part.json` that tells its origin.

    The bytes are never there without their origin: a part whose origin is unknown counts as empty.

    Args:
        folder: Where it lies.
        name: The archive's file name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self._note = folder / f"{name}.part", folder / f"{name}.part.json"

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() and self.origin else 0

    @property
    def origin(self) -> PartialSource | None:
        """Where they come from; None: unknown."""
        try:
            origin = PartialSource(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        known = isinstance(origin.address, str) and isinstance(origin.validator, str | None)
        return origin if known else None

    def begin(self, origin: PartialSource) -> None:
        """Empty it for the bytes of another file."""
        self.path.write_bytes(b"")
        self.adopt(origin)

    def adopt(self, origin: PartialSource) -> None:
        """Go on with the bytes of another source, which are known to be the same file."""
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(origin)) + "\n")
        fresh.replace(self._note)

    def tail(self, count: int) -> bytes:
        """The last bytes that are here."""
        with self.path.open("rb") as file:
            file.seek(-count, 2)
            return file.read()

    def remove(self) -> None:
        """Leave nothing of it."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


OVERLAP = 1 << 16  # bytes that are asked for again when going on, to see that they fit
Report = Callable[[int], None]  # is told how many bytes are here


def transfer(address: str, part: PartialDownload, size: int, patience: RetryPolicy, report: Report) -> None:
    """Fill a part to its end from one source.

    Bytes that are here already are kept if the server still has the file they come from, or, at another
    server, a file of the same size that has the same bytes where both meet; the checksum, which is the
    caller's, proves the rest.

    Args:
        address: http:// or https://.
        part: What is here so far.
        size: Bytes that the whole file must have.
        patience: When to give up.
        report: Is told the number of bytes here, over and over.

    Raises:
        Refused: If the source does not serve the file; what came stays in the part.
    """
    reached, misses = part.size, 0
    with requests.Session() as session:
        while part.size != size:
            try:
                _attempt(session, address, part, size, patience, report)
            except TransientError as fault:
                misses = 0 if part.size > reached else misses + 1
                reached = max(reached, part.size)
                if misses >= patience.tries:
                    raise PermanentError(str(fault)) from None
                time.sleep(patience.pause * 2 ** max(0, misses - 1))


def _attempt(
    session: requests.Session,
    address: str,
    part: PartialDownload,
    size: int,
    patience: RetryPolicy,
    report: Report,
) -> None:
    """One request, and as much of its answer as comes."""
    old = part.origin
    start = max(0, part.size - OVERLAP) if part.size < size else 0
    validator = old.validator if old and old.address == address else None
    with ask(session, address, start, validator, patience) as answer:
        if answer.unsatisfiable:
            part.remove()
            raise TransientError("it says that it has less than is here already")
        if answer.origin.size not in (None, size):
            raise PermanentError(f"a file of {answer.origin.size:,} bytes, not {size:,}")
        if not answer.start:
            part.begin(answer.origin)
        else:
            _join(answer, start, part)
        report(part.size)
        _pour(answer, part, size, report)


def _join(answer: RangeResponse, start: int, part: PartialDownload) -> None:
    """Read the bytes that are here already, which must be the same."""
    if answer.start != start:
        raise PermanentError(f"bytes from {answer.start:,} on, asked for those from {start:,} on")
    want = part.tail(part.size - start)
    have = bytearray()
    while len(have) < len(want) and (chunk := answer.read(len(want) - len(have))):
        have += chunk
    if _is_another(answer.origin, part.origin) or bytes(have) != want[: len(have)]:
        part.remove()
        raise TransientError("it has another file than the one begun")
    if len(have) < len(want):
        raise TransientError("it ended before its time")
    part.adopt(answer.origin)


def _is_another(new: PartialSource, old: PartialSource | None) -> bool:
    """Whether the server says so; some give the rest even where the condition does not hold."""
    return old is not None and old.address == new.address and old.validator != new.validator


def _pour(answer: RangeResponse, part: PartialDownload, size: int, report: Report) -> None:
    """Append what comes, as it comes."""
    here = part.size
    with part.path.open("ab") as file:
        while chunk := answer.read():
            here += len(chunk)
            if here > size:
                break
            file.write(chunk)
            report(here)
    if here > size:
        part.remove()
        raise PermanentError(f"more than {size:,} bytes")
    if here < size:
        raise TransientError("it ended before its time")
