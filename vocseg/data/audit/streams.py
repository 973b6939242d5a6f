"""The bytes of JPEG and PNG files: damage that decoders let pass.

A JPEG has no checksum, and most damaged ones decode without an error; what shows is a marker that does not
exist, a hole of zeros, or a missing end. A PNG has a checksum on every part.
Sources: ITU-T T.81 annex B; PNG (W3C) chapter 5.
"""

import re
import zlib
from typing import NamedTuple

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data, 00 escapes an FF, and D0..D7 restart
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers that nothing belongs to
_END, _SCAN = 0xD9, 0xDA
_HOLE = bytes(2048)  # no coded picture of usual size holds as many zeros, a file with a lost block does


class StreamFault(NamedTuple):
    """What is wrong with the bytes, as the kind of finding and in words."""

    kind: str
    text: str


def stream_fault(data: bytes) -> StreamFault | None:
    """What is wrong with the bytes of a JPEG or a PNG; None: nothing, or another format."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG"):
            return _png(data)
    except IndexError:
        return StreamFault("truncated", "its end is missing: restore it from the archive")
    return None


def _jpeg(data: bytes) -> StreamFault | None:
    position = 2
    while True:
        if data[position] != 0xFF:
            return _damaged(position, "where a marker is due")
        while data[position] == 0xFF:  # any number of them may fill up
            position += 1
        marker, position = data[position], position + 1
        if marker == _END:
            return _rest(data, position)
        if marker < 0xC0 and marker not in _BARE:
            return _damaged(position, f"by the marker {marker:02x}, which JPEG does not have")
        if marker in _BARE:
            continue
        position += data[position] << 8 | data[position + 1]
        if marker == _SCAN:
            end = _SCAN_END.search(data, position)
            hole = data.find(_HOLE, position, end.start() if end else len(data))
            if hole >= 0:
                return _damaged(hole, "by a hole of zeros")
            if end is None:
                raise IndexError
            position = end.start()


def _png(data: bytes) -> StreamFault | None:
    position = 8
    while True:
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise IndexError
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return _damaged(position, f"in the part {name.decode('latin-1')!r}, whose checksum is wrong")
        position = end + 4
        if name == b"IEND":
            return _rest(data, position)


def _damaged(position: int, how: str) -> StreamFault:
    return StreamFault("damaged", f"it is damaged at byte {position:,} {how}: restore it from the archive")


def _rest(data: bytes, end: int) -> StreamFault | None:
    more = len(data) - end
    return StreamFault("trailing-bytes", f"{more:,} bytes follow the end of the picture") if more else None
