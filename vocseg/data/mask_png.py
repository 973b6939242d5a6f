"""Writing of masks as palette PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from vocseg.constants import PALETTE
from vocseg.data.classes import Colour
from vocseg.data.image_io import Bytes


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
