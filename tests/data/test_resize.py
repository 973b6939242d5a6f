"""Resizing of images and masks."""

import numpy as np
import pytest
from PIL import Image

from vocseg.data.image_io import ImageMask, ImageSize, resize_image


def _pair() -> ImageMask:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (375, 500, 3), np.uint8)
    mask = np.repeat(np.repeat(random.choice([0, 5, 20, 255], (15, 20)), 25, 0), 25, 1).astype(np.uint8)
    return ImageMask(image, mask)


@pytest.mark.parametrize("size", [64, 256, 512])
def test_mask_resize_is_exact_nearest(size: int) -> None:
    pair = _pair()
    wanted = np.asarray(Image.fromarray(pair.mask).resize((size, size), Image.Resampling.NEAREST))
    assert (ImageSize(size)(pair).mask == wanted).all()


@pytest.mark.parametrize("size", [64, 256, 512])
def test_image_resize_matches_pillow(size: int) -> None:
    pair = _pair()
    wanted = np.asarray(Image.fromarray(pair.image).resize((size, size), Image.Resampling.BILINEAR))
    difference = np.abs(ImageSize(size)(pair).image.astype(int) - wanted)
    assert difference.max() <= 1


def test_resized_image_and_mask_stay_aligned() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[100:300, 150:450] = 15
    image = np.repeat(mask[..., None], 3, 2) * 17  # 255 inside, 0 outside
    small, resized = ImageSize(200)(ImageMask(image, mask))
    assert ((small[..., 0] > 127) == (resized == 15)).all()


def test_image_downscale_averages_pixels() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = resize_image(stripes, (64, 64))[:, 2:-2]
    assert (abs(inner.astype(int) - 100) <= 1).all()
