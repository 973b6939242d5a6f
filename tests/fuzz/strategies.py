"""Bytes that nobody wrote on purpose, and what every parser of outside bytes promises for them."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from vocseg.errors import UserError

T = TypeVar("T")

SECONDS = 20  # nothing here takes one; a busy machine may need more
BYTES = 1 << 30  # that a case may take beyond what the process has
LONGEST = 500  # characters of a sentence


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """A case that hangs raises `TimeoutError`, one that takes a gigabyte `MemoryError`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    with open("/proc/self/statm") as file:
        here = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (here + BYTES, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def value_or_sentence(parse: Callable[[], T], *names: str, greedy: bool = False) -> T | None:
    """What a parser gives, or None where it refuses: in one short printable sentence with `names` in it.

    Any other exception fails the test, as do a hang and, but for the `greedy`, a hunger for memory.
    """
    try:
        with limits():
            return parse()
    except UserError as fault:
        said = fault.sentence
        cause: BaseException | None = fault
        while cause is not None:  # a parser that takes anything for damage must not hide these
            assert not isinstance(cause, TimeoutError), repr(cause)
            assert greedy or not isinstance(cause, MemoryError), repr(cause)
            cause = cause.__cause__
        assert said
        assert said.isprintable(), repr(said)
        assert len(said) < LONGEST, said
        assert all(name in said for name in names), said
        return None


@st.composite
def mutated(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """A valid file after a few accidents: cut, flipped, overwritten, spliced, doubled, with a hole."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        _harm(draw, data, valid)
    return bytes(data)


def _harm(draw: st.DrawFn, data: bytearray, valid: Sequence[bytes]) -> None:
    at = draw(st.integers(0, len(data)))
    size = draw(st.integers(0, 40))
    kind = draw(st.sampled_from(["cut", "flip", "put", "insert", "drop", "double", "splice", "hole"]))
    if kind == "cut":
        del data[at:]
    elif kind == "flip" and at < len(data):
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == "put":
        data[at : at + 4] = draw(st.sampled_from(ODD_NUMBERS) | st.binary(min_size=4, max_size=4))
    elif kind == "insert":
        data[at:at] = draw(st.binary(max_size=40))
    elif kind == "drop":
        del data[at : at + size]
    elif kind == "double":
        data[at:at] = data[at : at + 10 * size]
    elif kind == "splice":
        other = draw(st.sampled_from(valid))
        where = draw(st.integers(0, len(other)))
        data[at:] = other[where:]
    elif kind == "hole":
        data[at : at + size] = bytes(min(size, len(data) - at))


ODD_NUMBERS = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff", b"\1\0\0\0"]


def files(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Valid files that were harmed, or noise."""
    return mutated(valid) | st.binary(max_size=300)


# Text with what steers terminals, ends lines, or leads out of folders.
TEXT = st.text(max_size=30) | st.sampled_from([
    "\x1b[2J\x1b]0;x\x07", "a\nb", "a\rb", "\x00", "../../x", "/etc/passwd", "[/red]", "[bold]x", "x" * 5000,
    "\u202e", "é" * 300, "CON", "C:\\x", "-1", "#", " ", "",
])  # fmt: skip

PLAIN: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | TEXT
    | st.sampled_from([0, 1, -1, 255, 256, 2**31, 2**63, 1e308])
)
"""What JSON and YAML are made of, at the leaves."""

VALUES: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
"""What they are made of, whole."""
