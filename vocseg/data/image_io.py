"""Decoding of images and masks.

Written for packing: unlike PIL's decoder it leaves the interpreter free for other threads, so that two cores
do twice the work. Checksums are compared; whatever is not plain or not whole is left to PIL, which names the
fault.

PIL is the judge: it reads every photograph's header, and whatever is odd or damaged. A JPEG that it calls
plain RGB and that ends as it should is decoded by cv2, to the same pixels in two thirds of the time (cv2
alone would fill the missing part of a truncated one with grey), and a plain mask by `png` (cv2 turns palette
masks into colours, torchvision crashes on damaged ones).
"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, features

from vocseg.data.classes import VOC_CLASSES, ClassList
from vocseg.errors import UserError, shown
from vocseg.utils.regular_file import read_regular

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


# No one scaling is right: of a camera that fills 12 of 16 bits, the full range leaves a nearly black picture.
TO_8_BITS = (
    "`python -c \"import cv2, sys; [cv2.imwrite(p, (cv2.imread(p, -1) / 257).round().astype('uint8')) "
    'for p in sys.argv[1:]]" COPIES/*.png`, which overwrites them and takes 0..65535 for the full range '
    "(12 bits: / 16)"
)

_PHOTO_MODES = ("RGB", "L", "CMYK", "P", "RGBA")
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF")  # of the others some start programs
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands of its container
_STILLS = ("MPO", "HEIF")  # may hold several images, of which the first, or the one marked, is meant
_COLOUR_MODES = ("RGB", "RGBA")
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")
_END_OF_JPEG = b"\xff\xd9"


def decode_image(data: bytes, path: Path, exif: bool = False) -> Bytes:
    """What `read_image` gives, from the file's bytes; `path` is for the sentence."""
    picture = _open(data, path, "image", exif)
    if picture.mode not in _PHOTO_MODES:
        wide = picture.mode.startswith("I")
        how = f", for example by {TO_8_BITS}" if wide else " (RGB)"
        raise UserError(f"the image {path} has mode {picture.mode}: save it with 8 bits a channel{how}")
    if picture.format == "JPEG" and picture.mode == "RGB" and data.endswith(_END_OF_JPEG) and not exif:
        pixels = _decode_plain_jpeg(data)
        if pixels is not None and pixels.shape[:2] == (picture.height, picture.width):
            return pixels
    return _as_rgb(picture, path, exif)


def _decode_plain_jpeg(data: bytes) -> Bytes | None:
    """A JPEG as cv2 decodes it; None: it cannot."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _as_rgb(picture: Image.Image, path: Path, exif: bool) -> Bytes:
    """What PIL makes of it."""
    try:
        picture.load()
        if exif:
            picture = ImageOps.exif_transpose(picture)
        return np.asarray(picture.convert("RGB"))
    except Exception as fault:  # PIL's decoders raise nearly anything on damaged bytes
        raise _unreadable(path, "image", fault, exif) from fault


def decode_mask(data: bytes, path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """What `read_mask` gives, from the file's bytes; `path` is for the sentence."""
    return mask_values(decode_mask_picture(data, path, classes), path, classes)


def decode_mask_picture(data: bytes, path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """The pixels of a mask: values uint8 `[H,W]`, or RGB `[H,W,3]` where the class list names all colours.

    Raises:
        UserError: If the file is damaged, or neither of the two.
    """
    mask = decode_plain_png(data)
    return _decode_odd_mask(data, path, classes) if mask is None else mask


def mask_values(pixels: Bytes, path: Path, classes: ClassList) -> Bytes:
    """The mask values of the pixels of a mask, `[H,W]` or RGB `[H,W,3]`.

    Raises:
        UserError: If a value or a colour is no class's.
    """
    if pixels.ndim == 3:
        return _from_colours(pixels, path, classes)
    # 255 becomes 0: one pass says whether all are 0..C-1 or void.
    if (pixels + np.uint8(1)).max() > len(classes) or not classes.as_stored:
        _check_values(pixels, path, classes)
    return pixels


def _from_colours(pixels: Bytes, path: Path, classes: ClassList) -> Bytes:
    """The mask values of a picture in the classes' colours, RGB `[H,W,3]`."""
    codes = colour_codes(pixels)
    colours, values = classes.by_colour
    where = np.searchsorted(colours, codes).clip(max=len(colours) - 1)
    if (wrong := colours[where] != codes).any():
        y, x = (int(k) for k in np.argwhere(wrong)[0])
        colour = tuple(pixels[y, x].tolist())
        raise UserError(
            f"the mask {path} has the colour {colour} ({int(wrong.sum())} pixels with such colours, the "
            f"first at x={x}, y={y}), which is no class's: give its class this colour in the class list, or "
            "draw the mask without anti-aliasing"
        )
    return np.asarray(values[where], np.uint8)


def colour_codes(pixels: Bytes) -> npt.NDArray[np.int32]:
    """RGB `[...,3]` as `0xRRGGBB`, int32 `[...]`."""
    wide = pixels.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _decode_odd_mask(data: bytes, path: Path, classes: ClassList) -> Bytes:
    """A mask that is no plain PNG, or damaged."""
    picture = _open(data, path, "mask")
    coloured = picture.mode in _COLOUR_MODES
    if picture.mode not in ("P", "L") and not coloured:
        raise UserError(
            f"the mask {path} has mode {picture.mode}, but masks are palette PNGs (mode P) whose pixels are "
            "class indices: save it as such"
        )
    if picture.format in _LOSSY:
        raise UserError(
            f"the mask {path} is a {picture.format}, whose compression has changed class indices: make it "
            "again from its source, as PNG"
        )
    if coloured and not classes.coloured:
        raise UserError(
            f"the mask {path} has mode {picture.mode}, a picture in colours, but --data.classes does not say "
            "what they mean: name a class list (.yaml or CVAT's labelmap.txt) that gives every class its own "
            "`colour`, or convert VOC's colours with `python -m vocseg audit --repair`"
        )
    if picture.mode == "L" and picture.format == "PNG" and picture.tile[0][3] != "L":
        raise UserError(
            f"the mask {path} is grey with fewer than 8 bits a pixel, which readers stretch to 0..255: save "
            "it with 8, or with a palette"
        )
    try:
        picture.load()
        pixels = np.asarray(picture)
    except Exception as fault:  # as above
        raise _unreadable(path, "mask", fault) from fault
    if picture.mode == "RGBA":
        _check_opaque(pixels, path)
    return np.ascontiguousarray(pixels[..., :3]) if coloured else pixels


def _check_opaque(pixels: Bytes, path: Path) -> None:
    """Refuse a pixel that may stand for what lies below it."""
    if (clear := pixels[..., 3] < 255).any():
        y, x = (int(k) for k in np.argwhere(clear)[0])
        raise UserError(
            f"the mask {path} is transparent in {int(clear.sum())} pixels, the first at x={x}, y={y}: save "
            "it without an alpha channel, on the colour of the background"
        )


def _open(data: bytes, path: Path, what: str, own: bool = False) -> ImageFile.ImageFile:
    """The picture with its header read.

    Args:
        data: The file's bytes.
        path: Where it is.
        what: `image` or `mask`.
        own: Whether it is a user's own photograph, of which no archive has a copy.
    """
    formats = _formats(data, path)
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
        frames = 1 if picture.format in _STILLS else getattr(picture, "n_frames", 1)
    except Exception as fault:  # as above
        raise _unreadable(path, what, fault, own) from fault
    if frames > 1:
        raise UserError(f"the {what} {path} is an animation: keep one frame of it")
    if picture.width * picture.height > MOST_PIXELS:
        raise UserError(
            f"the {what} {path} says that it has {picture.width}x{picture.height} pixels, more than can be "
            "meant: restore it, or make it smaller"
        )
    return picture


def _formats(data: bytes, path: Path) -> tuple[str, ...]:
    """What Pillow may take a file for.

    Raises:
        UserError: If it is an image that this Pillow cannot read.
    """
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _HEIC:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise UserError(
                f"the image {path} cannot be read: HEIC needs pillow-heif. "
                'Install it: pip install "vocseg[heic]"'
            ) from None
        register_heif_opener()
        return ("HEIF",)
    avif = features.check("avif")
    if brand == b"avif" and not avif:
        raise UserError(
            f"the image {path} cannot be read: AVIF needs Pillow 11.3 or newer. "
            "Install it: pip install -U pillow"
        )
    return _FORMATS if avif else _FORMATS[:-1]


def _unreadable(path: Path, what: str, fault: Exception, own: bool = False) -> UserError:
    said = " ".join(str(fault).split()) or type(fault).__name__
    reason = "it is no picture" if "BytesIO" in said else shown(said, 120)
    remedy = "copy it again from where it comes from" if own else "restore it from the archive"
    return UserError(f"the {what} {path} cannot be read ({reason}): {remedy}")


def _check_values(mask: Bytes, path: Path, classes: ClassList) -> None:
    """Refuse a value that means nothing, by the first place where it stands."""
    wrong = ~classes.known[mask]
    if not wrong.any():
        return
    y, x = (int(k) for k in np.argwhere(wrong)[0])
    raise UserError(
        f"the mask {path} holds the value {mask[y, x]} ({int(wrong.sum())} pixels with such values, the "
        f"first at x={x}, y={y}), but only {classes.describe_values()} mean something: correct it, name "
        "another list of classes with --data.classes, or say which value means which class (`value:` in that "
        "list, or --data.mask_values)"
    )


MOST_BYTES = 1 << 30  # of a file; a picture that may be read has a fifth of it uncompressed


class ImageMask(NamedTuple):
    """A photograph uint8 `[H,W,3]` RGB and its mask uint8 `[H,W]`, as the files have them."""

    image: Bytes
    mask: Bytes


def read_bytes(path: Path, what: str) -> tuple[bytes, os.stat_result]:
    """The content of a file, and its size and times before it was read.

    Args:
        path: Where it is.
        what: `image` or `mask`, to be named in a sentence.

    Raises:
        UserError: If it is missing or cannot be read.
    """
    try:
        return read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise UserError(
            f"the {what} {path} is missing: restore it or remove its id from the split list"
        ) from None
    except OSError as fault:
        raise UserError(
            f"the {what} {path} cannot be read ({fault.strerror}): put the {what} there"
        ) from fault


def read_image(path: Path, exif: bool = False) -> Bytes:
    """A photograph as uint8 `[H,W,3]` RGB.

    Args:
        path: A JPEG, PNG, ... file.
        exif: Turn the picture the way its camera says. VOC's masks fit the stored pixels, so only
            a user's own photographs want this.

    Raises:
        UserError: If the file is missing, damaged, animated, or has more than 8 bits a channel.
    """
    return decode_image(read_bytes(path, "image")[0], path, exif)


def read_mask(path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A mask as uint8 `[H,W]`, with the values that the file has.

    Raises:
        UserError: If the file is missing, damaged, not a picture of indices, or holds a value that is no
            class's.
    """
    return decode_mask(read_bytes(path, "mask")[0], path, classes)


def read_pair(image_path: Path, mask_path: Path, classes: ClassList = VOC_CLASSES) -> ImageMask:
    """A photograph and its mask.

    Raises:
        UserError: As `read_image` and `read_mask`, and if the two differ in size.
    """
    pair = ImageMask(read_image(image_path), read_mask(mask_path, classes))
    check_sizes(pair, image_path, mask_path)
    return pair


def check_sizes(pair: ImageMask, image_path: Path, mask_path: Path) -> None:
    """Whether a photograph and its mask are of one size.

    Raises:
        UserError: If not.
    """
    if pair.image.shape[:2] != pair.mask.shape:
        raise UserError(
            f"the mask {mask_path} is {_size(pair.mask)} pixels, but its image {image_path} is "
            f"{_size(pair.image)}: they must be of one size"
        )


def _size(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
