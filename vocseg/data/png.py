"""Decoding the plain PNGs that masks are: 8 bits a pixel, indices or grey, no filter, not interlaced.

Written for packing: unlike PIL's decoder it leaves the interpreter free for other threads, so that two cores
do twice the work. Checksums are compared; whatever is not plain or not whole is left to PIL, which names the
fault.
"""

import struct
import zlib

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

MOST_PIXELS = 89_478_485  # PIL's own bound: a quarter of a gigabyte in RGB

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_GREY, _PALETTE = 0, 3  # colour types


def decode_plain_png(data: bytes) -> Bytes | None:
    """The pixels of a plain PNG.

    Args:
        data: The whole file.

    Returns:
        uint8 `[H,W]`, or None if it is not plain, or damaged.
    """
    chunks = _chunks(data)
    if chunks is None or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return None
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or colour not in (_GREY, _PALETTE) or any(methods) or not 0 < width * height <= MOST_PIXELS:
        return None
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(packed, height * (width + 1))  # no more, however much it would become
    except zlib.error:
        return None
    if len(rows) != height * (width + 1) or not _ended(unpacker):
        return None
    pixels = np.frombuffer(rows, np.uint8).reshape(height, width + 1)  # the first of a row is its filter
    return None if pixels[:, 0].any() else np.ascontiguousarray(pixels[:, 1:])


def _ended(unpacker: "zlib._Decompress") -> bool:
    """Whether nothing was left over, so that the checksum at the end was seen."""
    try:
        return not unpacker.decompress(unpacker.unconsumed_tail, 1) and unpacker.eof
    except zlib.error:
        return False


def _chunks(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Kind and content of every chunk, or None if one is damaged, missing, or of another kind."""
    if not data.startswith(_SIGNATURE):
        return None
    chunks: list[tuple[bytes, bytes]] = []
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if kind not in _KNOWN or end + 4 > len(data):
            return None
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return None
        chunks.append((kind, data[at + 8 : end]))
        at = end + 4
        if kind == b"IEND":
            return chunks
    return None
