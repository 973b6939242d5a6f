"""Images and masks of any bytes: what runs read, what an audit examines, what goes into a submission."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.strategies import files, limits, value_or_sentence
from vocseg.data.audit.files import check_image, check_mask
from vocseg.data.classes import VOC_CLASSES
from vocseg.data.image_io import read_image, read_mask
from vocseg.submission.archive import InvalidMaskError, decode

pytestmark = pytest.mark.filterwarnings("ignore")  # PIL warns of much, and then reads or refuses it

RANDOM = np.random.default_rng(0)
PHOTO = Image.fromarray(RANDOM.integers(0, 256, (20, 30, 3), np.uint8))
MASK = Image.fromarray(RANDOM.choice([0, 5, 20, 255], (20, 30)).astype(np.uint8)).convert("P")
MASK.putpalette(list(range(256)) * 3)


def _saved(picture: Image.Image, format: str, **how: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **how)
    return stream.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    return exif


PHOTOS = [
    _saved(PHOTO, "JPEG"),
    _saved(PHOTO, "JPEG", progressive=True, exif=_exif()),
    _saved(PHOTO.convert("CMYK"), "JPEG"),
    _saved(PHOTO.convert("L"), "JPEG"),
    _saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    _saved(PHOTO, "PNG", exif=_exif()),
    _saved(PHOTO.quantize(8), "PNG", bits=4, transparency=2),
    _saved(PHOTO.convert("RGBA"), "PNG"),
    _saved(PHOTO.convert("L").convert("I;16"), "PNG"),
    _saved(PHOTO, "BMP"),
    _saved(PHOTO, "WEBP"),
    _saved(PHOTO, "PPM"),
    _saved(PHOTO, "TIFF", compression="tiff_lzw"),
    _saved(PHOTO.convert("F"), "TIFF"),
    _saved(PHOTO, "GIF", save_all=True, append_images=[PHOTO.convert("L")]),
]
MASKS = [
    _saved(MASK, "PNG"),
    _saved(MASK, "PNG", transparency=3),
    _saved(MASK.convert("L"), "PNG"),
    _saved(MASK.quantize(4), "PNG", bits=2),
    _saved(MASK.convert("1"), "PNG"),
    _saved(MASK.convert("LA"), "PNG"),
    _saved(MASK, "BMP"),
    _saved(MASK, "TIFF"),
]


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


BOMB = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**32 - 1, 8, 3, 0, 0, 0))
BOMB += _chunk(b"PLTE", bytes(768)) + _chunk(b"IDAT", zlib.compress(bytes(99))) + _chunk(b"IEND", b"")
WIDE = BOMB.replace(struct.pack(">II", 2**31 - 1, 2**32 - 1), struct.pack(">II", 13_000, 13_000))
GREY = np.zeros((4, 8), np.uint8)


def _grey_png(bits: int) -> bytes:
    """Grey with few bits a pixel: index 1 in every pixel."""
    row = bytes([0]) + bytes([int("01" * 4, 2) if bits == 2 else 0x11]) * bits
    header = struct.pack(">IIBBBBB", 8, 4, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(row * 4)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@given(files(MASKS) | files(PHOTOS), st.booleans())
@example(BOMB, False)
@example(WIDE, True)
@example(_grey_png(2), False)
@example(_grey_png(4), False)
@example(_saved(Image.fromarray(GREY), "JPEG"), False)
@example(_saved(Image.fromarray(GREY), "WEBP", lossless=True), False)
@example(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", False)
def test_file_of_any_bytes_is_read_or_refused_as_audit_says(folder: Path, data: bytes, exif: bool) -> None:
    path = folder / "x.png"
    path.write_bytes(data)
    image = value_or_sentence(lambda: read_image(path, exif=exif), "x.png")
    mask = value_or_sentence(lambda: read_mask(path), "x.png")
    if image is not None:
        assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    if mask is not None:
        assert (mask.dtype, mask.ndim) == (np.uint8, 2)
        assert VOC_CLASSES.known[mask].all()
    with limits():
        seen = check_image(path, "x.png"), check_mask(path, "x.png", VOC_CLASSES)
    for each in seen:
        assert all(finding.text.isprintable() and len(finding.text) < 500 for finding in each.findings)
    assert exif or (image is None) == (seen[0].content is None)
    assert (mask is None) == (seen[1].content is None)


@given(files(MASKS) | files(PHOTOS))
@example(BOMB)
def test_submitted_mask_of_any_bytes_is_classes_or_wrong(data: bytes) -> None:
    try:
        with limits():
            indices = decode(data, (30, 20))
    except InvalidMaskError as error:
        _, text = error.args
        assert text.isprintable()
        assert len(text) < 500
        return
    assert indices.shape == (20, 30)
    assert indices.max() < 21
