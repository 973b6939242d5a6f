"""Plain PNGs are decoded as PIL does it; anything else is left to PIL."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocseg.data.image_io import decode_plain_png


def _png(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def _mask(height: int = 37, width: int = 53) -> Image.Image:
    pixels = np.random.default_rng(0).choice([0, 5, 20, 255], (height, width)).astype(np.uint8)
    picture = Image.fromarray(pixels).convert("P")
    picture.putpalette(list(range(256)) * 3)
    return picture


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (375, 500)])
def test_a_palette_mask_decodes_as_with_pil(size: tuple[int, int]) -> None:
    picture = _mask(*size)
    found = decode_plain_png(_png(picture))
    assert found is not None
    assert (found == np.asarray(picture)).all()


def test_every_mask_of_the_sample_is_plain(sample: Path) -> None:
    for path in sample.rglob("SegmentationClass/*.png"):
        found = decode_plain_png(path.read_bytes())
        assert found is not None
        assert (found == np.asarray(Image.open(path))).all()


ODD = {
    "RGB": lambda: _png(Image.new("RGB", (9, 9))),
    "16 bit": lambda: _png(Image.new("I;16", (9, 9))),
    "1 bit": lambda: _png(Image.new("1", (9, 9))),
    "4 bit": lambda: _png(_mask().quantize(8), bits=4),
    "alpha": lambda: _png(Image.new("LA", (9, 9))),
    "transparent": lambda: _png(_mask(), transparency=3),
    "no PNG": lambda: b"<html>",
    "nothing": lambda: b"",
    "signature alone": lambda: _png(_mask())[:8],
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_plain_is_left_to_pil(name: str) -> None:
    assert decode_plain_png(ODD[name]()) is None


def test_rows_with_a_filter_are_left_to_pil() -> None:
    smooth = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (50, 1)))  # PIL filters grey pictures
    found = decode_plain_png(_png(smooth))
    assert found is None or (found == np.asarray(smooth)).all()


def test_every_truncation_and_every_flipped_bit_is_noticed() -> None:
    data = _png(_mask())
    random = np.random.default_rng(0)
    for cut in range(len(data)):
        assert decode_plain_png(data[:cut]) is None
    for _ in range(1000):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] ^= 1 << random.integers(8)
        assert decode_plain_png(bytes(damaged)) is None


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(10**8))
    header = b"\x00\x00\x00\x09\x00\x00\x00\x09\x08\x03\x00\x00\x00"

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    assert decode_plain_png(data) is None
