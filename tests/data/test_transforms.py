"""Resizing and augmentation: masks keep their labels and stay aligned with the image."""

import numpy as np
import pytest
from PIL import Image

from vocseg.data.transforms import PairTransform, resize_image


def _pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (375, 500, 3), np.uint8)
    mask = np.repeat(np.repeat(random.choice([0, 5, 20, 255], (15, 20)), 25, 0), 25, 1).astype(np.uint8)
    return image, mask


@pytest.mark.parametrize("size", [64, 256, 512])
def test_masks_are_resized_by_exact_nearest_neighbour(size: int) -> None:
    image, mask = _pair()
    _, resized = PairTransform(size)(image, mask, key=(0,))
    wanted = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    assert (resized == wanted).all()


def test_image_and_mask_stay_aligned_to_the_pixel() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[100:300, 150:450] = 15
    image = np.repeat(mask[..., None], 3, 2) * 17  # 255 inside, 0 outside
    for key in range(8):
        small, resized = PairTransform(200, "light")(image, mask, key=(key,))
        assert ((small[..., 0] > 127) == (resized == 15)).all()


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (resize_image(stripes, 64) == 100).all()


def test_a_key_fixes_the_draw_and_keys_differ() -> None:
    image, mask = _pair()
    transform = PairTransform(64, "light")
    draws = [transform(image, mask, key=(1, 2, k))[0] for k in range(64)]
    again = [PairTransform(64, "light")(image, mask, key=(1, 2, k))[0] for k in range(64)]
    assert all((a == b).all() for a, b in zip(draws, again, strict=True))
    flipped = sum(not (draw == draws[0]).all() for draw in draws)
    assert 16 < flipped < 48 or 16 < 64 - flipped < 48


def test_none_changes_nothing_but_the_size() -> None:
    image, mask = _pair()
    draws = [PairTransform(64)(image, mask, key=(k,))[0] for k in range(16)]
    assert all((draw == resize_image(image, 64)).all() for draw in draws)
