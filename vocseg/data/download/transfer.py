"""Fetching a file over HTTP into a part, going on where an earlier attempt stopped."""

import time
from collections.abc import Callable

import requests

from vocseg.data.download.answer import Answer, ask
from vocseg.data.download.part import Origin, Part
from vocseg.data.download.patience import Broken, Patience, Refused

OVERLAP = 1 << 16  # bytes that are asked for again when going on, to see that they fit
Report = Callable[[int], None]  # is told how many bytes are here


def transfer(address: str, part: Part, size: int, patience: Patience, report: Report) -> None:
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
            except Broken as fault:
                misses = 0 if part.size > reached else misses + 1
                reached = max(reached, part.size)
                if misses >= patience.tries:
                    raise Refused(str(fault)) from None
                time.sleep(patience.pause * 2 ** max(0, misses - 1))


def _attempt(
    session: requests.Session, address: str, part: Part, size: int, patience: Patience, report: Report
) -> None:
    """One request, and as much of its answer as comes."""
    old = part.origin
    start = max(0, part.size - OVERLAP) if part.size < size else 0
    validator = old.validator if old and old.address == address else None
    with ask(session, address, start, validator, patience) as answer:
        if answer.unsatisfiable:
            part.remove()
            raise Broken("it says that it has less than is here already")
        if answer.origin.size not in (None, size):
            raise Refused(f"a file of {answer.origin.size:,} bytes, not {size:,}")
        if not answer.start:
            part.begin(answer.origin)
        else:
            _join(answer, start, part)
        report(part.size)
        _pour(answer, part, size, report)


def _join(answer: Answer, start: int, part: Part) -> None:
    """Read the bytes that are here already, which must be the same."""
    if answer.start != start:
        raise Refused(f"bytes from {answer.start:,} on, asked for those from {start:,} on")
    want = part.tail(part.size - start)
    have = bytearray()
    while len(have) < len(want) and (chunk := answer.read(len(want) - len(have))):
        have += chunk
    if _is_another(answer.origin, part.origin) or bytes(have) != want[: len(have)]:
        part.remove()
        raise Broken("it has another file than the one begun")
    if len(have) < len(want):
        raise Broken("it ended before its time")
    part.adopt(answer.origin)


def _is_another(new: Origin, old: Origin | None) -> bool:
    """Whether the server says so; some give the rest even where the condition does not hold."""
    return old is not None and old.address == new.address and old.validator != new.validator


def _pour(answer: Answer, part: Part, size: int, report: Report) -> None:
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
        raise Refused(f"more than {size:,} bytes")
    if here < size:
        raise Broken("it ended before its time")
