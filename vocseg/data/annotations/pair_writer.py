"""Image and mask files of a data set made from annotations."""

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

_OVERLAP = "images have regions of several classes that overlap: the smaller region is on top"
_OUTSIDE = "regions that cover no pixel are left out"
_TURNED = "images are turned upright, as their EXIF orientation says"
_AS_STORED = "images keep the orientation in which they are stored: their annotations fit that one"
_UNSURE = "of these have the same size when turned: look at the mask of one"


class PairWriter:
    """Writes the image and the mask of a position, and returns notes with the image's id."""

    def __init__(
        self, folder: AtomicFolder, images: Sequence[AnnotatedImage], classes: dict[str, int], link: bool
    ) -> None:
        """Remember where to and what.

        Args:
            folder: Of the data set.
            images: All of it.
            classes: Index of each label.
            link: Whether images that stay as they are become hard links.
        """
        self._folder, self._images, self._classes, self._link = folder, images, classes, link

    def __call__(self, index: int) -> list[tuple[str, str]]:
        """Write one pair.

        Raises:
            UserError: If its image cannot be read, or is not the one that was annotated.
        """
        image = self._images[index]
        data = image.embedded() if image.embedded else read_bytes(image.place, "image")[0]
        pixels, notes = _upright(image, data)
        height, width = pixels.shape[:2]
        if image.size not in (None, (width, height)):
            assert image.size is not None
            raise UserError(
                f"the image {image.place} is {width}x{height} pixels, but its annotations were drawn on "
                f"{image.size[0]}x{image.size[1]}. Put the image there that was annotated"
            )
        self._save(image, data, pixels, _TURNED in notes)
        drawn = draw_mask(image.shapes, width, height, self._classes)
        stream = io.BytesIO()
        save_mask(drawn.mask, stream)
        self._folder.write(f"SegmentationClass/{image.id}.png", stream.getvalue())
        notes += [_OVERLAP] * drawn.overlap + [_OUTSIDE] * drawn.empty
        return [(text, image.id) for text in notes]

    def _save(self, image: AnnotatedImage, data: bytes, pixels: Bytes, turned: bool) -> None:
        """Write an image as it is, or if it was turned or its ending is none of an image, anew."""
        with Image.open(io.BytesIO(data)) as picture:
            kind = str(picture.format)
        usual = ".jpg" if kind in ("JPEG", "MPO") else f".{kind.lower()}"
        ending = image.file.suffix if image.file else usual
        name = f"JPEGImages/{image.id}"
        if turned or ending.lower() not in IMAGE_ENDINGS:
            stream = io.BytesIO()
            lossy = kind in _LOSSY
            Image.fromarray(pixels).save(stream, "JPEG" if lossy else "PNG", quality=95, subsampling=0)
            self._folder.write(f"{name}{'.jpg' if lossy else '.png'}", stream.getvalue())
        elif self._link and image.file:
            self._folder.link(f"{name}{ending}", image.file)
        else:
            self._folder.write(f"{name}{ending}", data)


def _upright(image: AnnotatedImage, data: bytes) -> tuple[Bytes, list[str]]:
    """The pixels on which an image was annotated, RGB `[H,W,3]`.

    Programs show images as EXIF says. A few use the stored pixels, which the size in the annotations tells.
    """
    pixels = decode_image(data, image.place)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises nearly anything on damaged EXIF, which no program turns an image by
        orientation = 1
    if orientation not in range(2, 9):
        return pixels, []
    turned = decode_image(data, image.place, exif=True)
    if image.size is not None and turned.shape != pixels.shape:
        if image.size == (pixels.shape[1], pixels.shape[0]):
            return pixels, [_AS_STORED]
        return turned, [_TURNED]
    return turned, [] if np.array_equal(turned, pixels) else [_TURNED, _UNSURE]
