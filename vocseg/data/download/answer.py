"""What a server answers when it is asked for an archive, or for the rest of one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3

from vocseg.data.download.part import Origin
from vocseg.data.download.patience import Broken, Pace, Patience, Refused

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be gone at the next attempt
_CHUNK = 1 << 18


class Answer:
    """A server's answer; its body is not read yet.

    Args:
        address: Where it was asked for, before any redirection.
        response: The open answer.
        patience: Its `crawl` limits how slowly the body may come.

    Raises:
        Broken: If the server is busy or failing for now.
        Refused: If it has no such file, or answers with a web page.
    """

    def __init__(self, address: str, response: requests.Response, patience: Patience) -> None:
        self._response, self._pace = response, Pace(patience)
        status, kind = response.status_code, response.headers.get("Content-Type", "")
        if status in _PASSING:
            raise Broken(f"status {status} {response.reason}")
        if status not in (200, 206, 416):
            raise Refused(f"status {status} {response.reason}")
        if kind.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml") and status != 416:
            raise Refused("a web page instead of the archive")
        self.unsatisfiable = status == 416
        self.start, size = self._range() if status == 206 else (0, self._length())
        self.origin = Origin(address, self._validator(), size)

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
            raise Refused("it stopped sending") from None
        except urllib3.exceptions.HTTPError as fault:
            raise Broken(f"the connection was cut ({type(fault).__name__})") from None
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
            raise Refused(f"a range that cannot be read ({text!r})")
        return int(found[1]), None if found[2] == "*" else int(found[2])

    def _validator(self) -> str | None:
        tag = self._response.headers.get("ETag", "")
        strong = tag if tag.startswith('"') else None  # a weak one does not promise the same bytes
        return strong or self._response.headers.get("Last-Modified")


@contextmanager
def ask(
    session: requests.Session, address: str, start: int, validator: str | None, patience: Patience
) -> Iterator[Answer]:
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
        raise Refused(f"no answer for {patience.stall:.0f} s") from None
    except requests.ConnectionError:
        raise Broken("no connection") from None
    except requests.RequestException as fault:
        raise Refused(f"{type(fault).__name__}") from None
    with response:
        yield Answer(address, response, patience)
