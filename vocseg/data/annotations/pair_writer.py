"""Writer of image and mask files from annotations."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image

from vocseg.data.annotations.annotated_image import AnnotatedImage, draw_mask
from vocseg.data.image_io import Bytes, decode_image, read_bytes
from vocseg.data.mask_png import save_mask
from vocseg.data.voc import IMAGE_ENDINGS
from vocseg.errors import UserError
from vocseg.utils.atomic_write import AtomicFolder

_LOSSY = ("JPEG", "MPO", "HEIF", "AVIF", "WEBP")

_OVERLAP = "images have overlapping regions of several classes: the smaller region is on top"
_OUTSIDE = "regions without a pixel are left out"
_ROTATED = "images are rotated as their EXIF orientation requires"
_AS_STORED = "images keep their stored orientation, which their annotations fit"
_AMBIGUOUS = "of these have the same size when rotated: check one of the masks"


class PairWriter:
    """Writer of the image and the mask at an index; returns notes with the image's id."""

    def __init__(
        self, folder: AtomicFolder, images: Sequence[AnnotatedImage], classes: dict[str, int], link: bool
    ) -> None:
        """Initialise.

        Args:
            folder: Folder of the data set.
            images: All images.
            classes: Class index of each label.
            link: Hard-link unchanged images.
        """
        self._folder, self._images, self._classes, self._link = folder, images, classes, link

    def __call__(self, index: int) -> list[tuple[str, str]]:
        """Write one pair.

        Raises:
            UserError: If the image cannot be read, or its size is not that of the annotations.
        """
        image = self._images[index]
        data = image.embedded() if image.embedded else read_bytes(image.location, "image")[0]
        pixels, notes = _upright(image, data)
        height, width = pixels.shape[:2]
        if image.size not in (None, (width, height)):
            assert image.size is not None
            raise UserError(
                f"the image {image.location} is {width}x{height} pixels, but its annotations were drawn on "
                f"{image.size[0]}x{image.size[1]}. Restore the annotated image."
            )
        self._save(image, data, pixels, _ROTATED in notes)
        drawn = draw_mask(image.shapes, width, height, self._classes)
        stream = io.BytesIO()
        save_mask(drawn.mask, stream)
        self._folder.write(f"SegmentationClass/{image.id}.png", stream.getvalue())
        notes += [_OVERLAP] * drawn.overlap + [_OUTSIDE] * drawn.empty
        return [(text, image.id) for text in notes]

    def _save(self, image: AnnotatedImage, data: bytes, pixels: Bytes, rotated: bool) -> None:
        """Write an image unchanged, or encode it if it was rotated or has an unknown suffix."""
        with Image.open(io.BytesIO(data)) as opened:
            kind = str(opened.format)
        default = ".jpg" if kind in ("JPEG", "MPO") else f".{kind.lower()}"
        suffix = image.file.suffix if image.file else default
        name = f"JPEGImages/{image.id}"
        if rotated or suffix.lower() not in IMAGE_ENDINGS:
            stream = io.BytesIO()
            lossy = kind in _LOSSY
            Image.fromarray(pixels).save(stream, "JPEG" if lossy else "PNG", quality=95, subsampling=0)
            self._folder.write(f"{name}{'.jpg' if lossy else '.png'}", stream.getvalue())
        elif self._link and image.file:
            self._folder.link(f"{name}{suffix}", image.file)
        else:
            self._folder.write(f"{name}{suffix}", data)


def _upright(image: AnnotatedImage, data: bytes) -> tuple[Bytes, list[str]]:
    """Annotated pixels, RGB `[H,W,3]`, and notes.

    Most programs apply the EXIF orientation. The size in the annotations identifies those that do not.
    """
    pixels = decode_image(data, image.location)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises nearly anything on corrupt EXIF, which programs ignore
        orientation = 1
    if orientation not in range(2, 9):
        return pixels, []
    rotated = decode_image(data, image.location, exif=True)
    if image.size is not None and rotated.shape != pixels.shape:
        if image.size == (pixels.shape[1], pixels.shape[0]):
            return pixels, [_AS_STORED]
        return rotated, [_ROTATED]
    return rotated, [] if np.array_equal(rotated, pixels) else [_ROTATED, _AMBIGUOUS]
