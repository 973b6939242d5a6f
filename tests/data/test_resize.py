"""The sizes in which pairs are kept."""

import numpy as np
import pytest
from PIL import Image

from vocseg.data.image_io import ImageMask
from vocseg.data.resize import ImageSize, resize_image


def _pair() -> ImageMask:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (375, 500, 3), np.uint8)
    mask = np.repeat(np.repeat(random.choice([0, 5, 20, 255], (15, 20)), 25, 0), 25, 1).astype(np.uint8)
    return ImageMask(image, mask)


@pytest.mark.parametrize("size", [64, 256, 512])
def test_masks_are_resized_by_exact_nearest_neighbour(size: int) -> None:
    pair = _pair()
    wanted = np.asarray(Image.fromarray(pair.mask).resize((size, size), Image.Resampling.NEAREST))
    assert (ImageSize(size)(pair).mask == wanted).all()


@pytest.mark.parametrize("size", [64, 256, 512])
def test_images_are_resized_as_pillow_does(size: int) -> None:
    pair = _pair()
    wanted = np.asarray(Image.fromarray(pair.image).resize((size, size), Image.Resampling.BILINEAR))
    difference = np.abs(ImageSize(size)(pair).image.astype(int) - wanted)
    assert difference.max() <= 1


def test_image_and_mask_stay_aligned_to_the_pixel() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[100:300, 150:450] = 15
    image = np.repeat(mask[..., None], 3, 2) * 17  # 255 inside, 0 outside
    small, resized = ImageSize(200)(ImageMask(image, mask))
    assert ((small[..., 0] > 127) == (resized == 15)).all()


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = resize_image(stripes, (64, 64))[:, 2:-2]
    assert (abs(inner.astype(int) - 100) <= 1).all()
