"""Independence of the random numbers of `strong`."""

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from tests.data.transforms.test_sample_rng import (
    EPOCHS,
    IMAGES,
    SIZE,
    SOURCE,
    Floats,
    blurred,
    check_independence,
    filled,
    flat,
    geometry_of,
    light_of,
    with_choice,
)
from vocseg.data.image_io import ImageMask
from vocseg.data.transforms.augment import Augmenter


def _mixing() -> dict[str, Floats]:
    """With which pair each draw of `strong` is mixed, where that shows, and how it is seen."""
    augmenter = Augmenter("strong", SIZE, 11, IMAGES)
    chosen = [k for epoch in range(EPOCHS) for k in augmenter.cutmix_partners(range(IMAGES), epoch)]
    partner = np.array([np.nan if k is None else k for k in chosen], float)
    ramp = 100 + np.tile(np.arange(SOURCE, dtype=np.uint8), (SOURCE, 1))
    across, down = (
        filled("strong", flat(0, 0, 0), partner=ImageMask(flat(0, 0, 0).image, np.ascontiguousarray(mask)))[1]
        for mask in (ramp, ramp.T)
    )
    inside = across >= 100
    boxes = [find_objects(each)[0] if each.any() else None for each in inside.astype(int)]
    across, down = (np.where(inside, labels - 100, np.nan) for labels in (across, down))
    step = np.nanmean(np.diff(across, axis=2), axis=(1, 2))
    place = np.arange(SIZE) - (SIZE - 1) / 2
    x = np.nanmean(across - step[:, None, None] * place, (1, 2)) - (SOURCE - 1) / 2
    y = np.nanmean(down - np.abs(step)[:, None, None] * place[:, None], (1, 2)) - (SOURCE - 1) / 2
    whole = np.array([box is not None and inside[k][box].all() for k, box in enumerate(boxes)])
    return {
        "mixed": (~np.isnan(partner)).astype(float),
        "partner": _halves(partner, IMAGES / 2),
        "partner's flip": np.where(np.isnan(step), np.nan, np.sign(step)),
        "partner's scale": _halves(1 / np.abs(step), 2**0.5 * SIZE / SOURCE),
        "partner's x": with_choice(x),
        "partner's y": with_choice(y),
        **_box_decisions("piece", [box if ok else None for box, ok in zip(boxes, whole, strict=True)]),
    }


def _box_decisions(name: str, boxes: list[tuple[slice, slice] | None]) -> dict[str, Floats]:
    """Area, shape and places of rectangles."""
    ends = np.array([
        [np.nan] * 4 if box is None else [each for span in box for each in (span.start, span.stop)]
        for box in boxes
    ])  # fmt: skip
    top, bottom, left, right = ends.T
    height, width = bottom - top, right - left
    area = height * width
    return {
        f"{name}'s area": _halves(area, float(np.nanmedian(area))),
        f"{name}'s shape": _halves(height / width, 1.0001),
        f"{name}'s y": _halves((top + 0.5) / (SIZE - height + 1), 0.5),
        f"{name}'s x": _halves((left + 0.5) / (SIZE - width + 1), 0.5),
    }


def _halves(values: Floats, middle: float) -> Floats:
    return np.where(np.isnan(values), np.nan, np.where(values < middle, -1.0, 1.0))


def _holes_and_noise() -> dict[str, Floats]:
    """Holes of every draw of `strong` that shows no padding, its noise and its blur."""
    pixels, labels = filled("strong", flat(128, 128, 128))
    whole = ~np.isnan(filled("crops", flat(0, 0, 0))[1]).any((1, 2))
    cut = np.isnan(labels)
    parts = [label(each) for each in cut]
    boxes = [find_objects(found)[0] if ok and count == 1 else None
             for (found, count), ok in zip(parts, whole, strict=True)]  # fmt: skip
    alone = [box if box is not None and cut[k][box].all() else None for k, box in enumerate(boxes)]
    count = np.array([float(count) for _, count in parts])
    deviation = np.nanstd(pixels, axis=(1, 2, 3))
    noisy = deviation > 2
    grain = np.sign(pixels[:, 16, 16, 0] - np.nanmean(pixels[..., 0], (1, 2)))
    return {
        "cut": np.where(whole, (count > 0).astype(float), np.nan),
        "holes": np.where(whole & (count > 0), (count > 1).astype(float), np.nan),
        **_box_decisions("hole", alone),
        "noisy": noisy.astype(float),
        "noise": np.where(noisy, _halves(deviation, 12), np.nan),
        "grain": np.where(noisy, grain, np.nan),
        "blur": blurred("strong", 0.96),
    }


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom", "ignore:divide by")
def test_strong_decisions_are_independent() -> None:
    strong = {**_mixing(), **_holes_and_noise()}
    check_independence({**geometry_of("crops"), **light_of(), **strong})
