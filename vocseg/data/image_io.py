"""Decoding, resizing and writing of images and masks."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps

from vocseg.constants import PALETTE
from vocseg.data.classes import VOC_CLASSES, ClassList, Colour
from vocseg.errors import UserError, raise_worker_failure, shown
from vocseg.utils.regular_file import read_regular

Bytes = npt.NDArray[np.uint8]

MOST_PIXELS = 89_478_485  # PIL's own bound: a quarter of a gigabyte in RGB
MOST_BYTES = 1 << 30  # of a file; an image of MOST_PIXELS has a fourth of it uncompressed
RESIZE_VERSION = 2  # of the arithmetic: raised when pixels change, so that older caches are not read

# No one scaling fits all: a camera that fills 12 of 16 bits gives a nearly black image at full range.
TO_8_BITS = (
    "`python -c \"import cv2, sys; [cv2.imwrite(p, (cv2.imread(p, -1) / 257).round().astype('uint8')) "
    'for p in sys.argv[1:]]" COPIES/*.png`, which overwrites them and takes 0..65535 for the full range '
    "(12 bits: / 16)"
)

_IMAGE_MODES = ("RGB", "L", "CMYK", "P", "RGBA")
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF")  # of the others some start programs
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands of its container
_STILLS = ("MPO", "HEIF")  # may hold several images, of which the first or the primary one is used
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")
_END_OF_JPEG = b"\xff\xd9"


class ImageMask(NamedTuple):
    """An image uint8 `[H,W,3]` RGB and its mask uint8 `[H,W]`."""

    image: Bytes
    mask: Bytes


def decode_image(data: bytes, path: Path, exif: bool = False) -> Bytes:
    """Decode the bytes of an image file; see `read_image`. `path` is for error messages."""
    image = _open(data, path, "image", exif)
    if image.mode not in _IMAGE_MODES:
        remedy = f", for example by {TO_8_BITS}" if image.mode.startswith("I") else " (RGB)"
        raise UserError(f"the image {path} has mode {image.mode}: save it with 8 bits a channel{remedy}")
    # cv2 decodes to the same pixels in two thirds of the time, but fills the missing part of a truncated file
    # with grey. So PIL decodes whatever is not plain RGB with an end marker.
    plain = image.format == "JPEG" and image.mode == "RGB" and data.endswith(_END_OF_JPEG)
    if plain and not (exif and exif_orientation(data) != 1):
        with contextlib.suppress(cv2.error):
            flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
            pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if pixels is not None and pixels.shape[:2] == (image.height, image.width):
                return np.asarray(pixels, np.uint8)
    try:
        image.load()
        return np.asarray((ImageOps.exif_transpose(image) if exif else image).convert("RGB"))
    except Exception as error:  # PIL's decoders raise nearly anything on damaged bytes
        raise _unreadable(path, "image", error, exif) from error


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation of an image file, 1..8; 1: it has none, or a damaged one."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL raises nearly anything on damaged bytes
        return 1
    return int(orientation) if orientation in range(1, 9) else 1


def decode_mask_image(data: bytes, path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """Decode the bytes of a mask file.

    Returns:
        Values uint8 `[H,W]`, or RGB `[H,W,3]` where the class list has a colour for each class.

    Raises:
        UserError: If the file is damaged, or neither of the two.
    """
    image = _open(data, path, "mask")
    coloured, fault = image.mode in ("RGB", "RGBA"), None
    if image.format in LOSSY:
        fault = f"is a {image.format}, whose lossy compression changes class indices"
    elif image.mode not in ("P", "L") and not coloured:
        fault = f"has mode {image.mode}"
    elif coloured and not classes.coloured:
        fault = f"has mode {image.mode}, a colour image, but --data.classes does not say what they mean"
    elif image.mode == "L" and image.format == "PNG" and image.tile[0][3] != "L":
        fault = "is grey with fewer than 8 bits a pixel, which readers stretch to 0..255"
    if fault is not None:
        raise UserError(
            f"the mask {path} {fault}: save it as a palette PNG of class indices, or give a class list with "
            "a `colour` for every class"
        )
    try:
        image.load()
        pixels = np.asarray(image)
    except Exception as error:  # as above
        raise _unreadable(path, "mask", error) from error
    if image.mode == "RGBA" and pixels[..., 3].min() < 255:
        raise UserError(f"the mask {path} is transparent in places: save it without an alpha channel")
    return np.ascontiguousarray(pixels[..., :3]) if coloured else pixels


def mask_values(pixels: Bytes, path: Path, classes: ClassList) -> Bytes:
    """Return the mask values `[H,W]` of the pixels of a mask, `[H,W]` or RGB `[H,W,3]`.

    Raises:
        UserError: If a value or a colour belongs to no class.
    """
    if pixels.ndim == 3:
        return _values_of_colours(pixels, path, classes)
    # 255 becomes 0: one pass tells whether all are 0..C-1 or ignored.
    if (pixels + np.uint8(1)).max() > len(classes) or not classes.as_stored:
        wrong = ~classes.known[pixels]
        if wrong.any():
            raise UserError(
                f"the mask {path} holds the value {pixels[wrong][0]} ({_pixels(wrong, ' with such values')})"
                f", but only {classes.describe_values()} mean something: correct it, give another class list "
                "with --data.classes, or map the value to a class (`value:` in that list, or "
                "--data.mask_values)"
            )
    return pixels


def _values_of_colours(pixels: Bytes, path: Path, classes: ClassList) -> Bytes:
    codes = colour_codes(pixels)
    colours, values = classes.by_colour
    where = np.searchsorted(colours, codes).clip(max=len(colours) - 1)
    if (wrong := colours[where] != codes).any():
        raise UserError(
            f"the mask {path} has the colour {tuple(pixels[wrong][0].tolist())} "
            f"({_pixels(wrong, ' with such colours')}), which belongs to no class: give its class this "
            "colour in the class list, or draw the mask without anti-aliasing"
        )
    return np.asarray(values[where], np.uint8)


def colour_codes(pixels: Bytes) -> npt.NDArray[np.int32]:
    """Convert RGB `[...,3]` to `0xRRGGBB`, int32 `[...]`."""
    wide = pixels.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _pixels(wrong: npt.NDArray[np.bool_], such: str = "") -> str:
    """Number and first position of the pixels where `[H,W]` is true."""
    y, x = (int(k) for k in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} pixels{such}, the first at x={x}, y={y}"


def _open(data: bytes, path: Path, kind: str, own: bool = False) -> ImageFile.ImageFile:
    """Read the header of an image or mask file; `own` is true for a user's image outside a data set."""
    is_heic = data[4:8] == b"ftyp" and data[8:12] in _HEIC
    try:
        if is_heic:
            import pillow_heif

            pillow_heif.register_heif_opener()
        image = Image.open(io.BytesIO(data), formats=("HEIF",) if is_heic else _FORMATS)
        frames = 1 if image.format in _STILLS else getattr(image, "n_frames", 1)
    except ImportError:
        raise UserError(
            f'the image {path} cannot be read: HEIC needs pillow-heif. Install it: pip install "vocseg[heic]"'
        ) from None
    except Exception as error:  # PIL raises nearly anything on damaged bytes
        raise _unreadable(path, kind, error, own) from error
    if frames > 1:
        raise UserError(f"the {kind} {path} is an animation: keep one frame of it")
    if image.width * image.height > MOST_PIXELS:
        raise UserError(
            f"the {kind} {path} has {image.width}x{image.height} pixels by its header, more than the "
            f"{MOST_PIXELS:,} that are read: restore it, or make it smaller"
        )
    return image


def _unreadable(path: Path, kind: str, error: Exception, own: bool = False) -> UserError:
    raise_worker_failure(error)
    text = " ".join(str(error).split()) or type(error).__name__
    reason = "it is not an image file" if "BytesIO" in text else shown(text, 120)
    remedy = "copy it again from its source" if own else "restore it from the archive"
    return UserError(f"the {kind} {path} cannot be read ({reason}): {remedy}")


def read_bytes(path: Path, kind: str) -> tuple[bytes, os.stat_result]:
    """Read a file, and its status before that; `kind` is `image` or `mask`, for error messages.

    Raises:
        UserError: If it is missing or cannot be read.
    """
    try:
        return read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise UserError(f"the {kind} {path} is missing: restore it, or remove it from its list") from None
    except OSError as error:
        raise UserError(
            f"the {kind} {path} cannot be read ({error.strerror}): put the {kind} there"
        ) from error


def read_image(path: Path, exif: bool = False) -> Bytes:
    """Read an image as uint8 `[H,W,3]` RGB.

    Args:
        path: A JPEG, PNG, ... file.
        exif: Apply the EXIF orientation. VOC's masks fit the stored pixels, so data sets are read without.

    Raises:
        UserError: If the file is missing, damaged, animated, or has more than 8 bits a channel.
    """
    return decode_image(read_bytes(path, "image")[0], path, exif)


def read_mask(path: Path, classes: ClassList = VOC_CLASSES) -> Bytes:
    """Read a mask as uint8 `[H,W]`, with the values of the file.

    Raises:
        UserError: If the file is missing, damaged, not a mask, or holds a value that belongs to no class.
    """
    data, _ = read_bytes(path, "mask")
    return mask_values(decode_mask_image(data, path, classes), path, classes)


def resize_pair(pair: ImageMask, size: int) -> ImageMask:
    """Resize a pair to a square of `size` pixels each way, whatever its aspect ratio."""
    return ImageMask(resize_image(pair.image, (size, size)), resize_mask(pair.mask, (size, size)))


def resize_image(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize an image uint8 `[H,W,3]` to a height and width, with Pillow's antialiased bilinear filter."""
    if image.shape[:2] == shape:
        return image
    import torch  # here, so that tools which resize nothing start without it

    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(pixels, shape, mode="bilinear", antialias=True)  # [1,3,h,w]
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1)[0].numpy())  # no copy: it stayed channels last


def resize_mask(mask: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize a mask uint8 `[H,W]` to a height and width, with the exact nearest pixel."""
    if mask.shape == shape:
        return mask
    # cv2's INTER_NEAREST is off by half a pixel against the image.
    return np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def save_mask(
    mask: Bytes, path: Path | BinaryIO, palette: Sequence[Colour] = PALETTE, compress_level: int = -1
) -> None:
    """Write class indices as a palette PNG.

    Args:
        mask: uint8 `[H,W]`.
        path: The file, or a stream.
        palette: 256 RGB colours.
        compress_level: zlib's, 0..9; -1: its default.
    """
    image = Image.fromarray(mask)
    image.putpalette([channel for colour in palette for channel in colour])
    image.save(path, "PNG", compress_level=compress_level)
