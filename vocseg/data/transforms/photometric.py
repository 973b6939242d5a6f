"""Photometric transforms of albumentations."""

import os
import random
import warnings
from functools import cache
from typing import Any

import numpy as np

from vocseg.data.image_io import Bytes

# Else importing it asks the network for a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def photometric(image: Bytes, key: tuple[int, ...], more_blur: bool = False) -> Bytes:
    """Return a copy of an image with random brightness, contrast, colour and blur, a function of `key`."""
    compose = _compose(more_blur)
    # set_random_state, not set_random_seed: the latter gives every transform the same stream of draws.
    compose.set_random_state(np.random.default_rng(key), random.Random(str(key)))
    return np.asarray(compose(image=image)["image"], np.uint8)


@cache
def _compose(more_blur: bool) -> Any:
    import albumentations as A

    blur: dict[str, Any] = {"blur_limit": (3, 5), "p": 0.2}
    if more_blur:
        blur = {"blur_limit": 0, "sigma_limit": (0.5, 2.0), "p": 0.3}
    with warnings.catch_warnings():  # albumentations only warns of a misspelt argument
        warnings.simplefilter("error")
        return A.Compose([
            A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.25, p=0.5),
            A.HueSaturationValue(hue_shift_limit=12, sat_shift_limit=30, val_shift_limit=0, p=0.5),
            A.GaussianBlur(**blur),
        ])  # fmt: skip
