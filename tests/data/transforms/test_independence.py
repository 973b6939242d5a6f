"""Independence of the random decisions of the augmentation.

Decisions are derived from batches of the public `Augmenter`. They depend on seed, epoch and position
alone, so that several images, each made to show one decision, get the same ones.
"""

import itertools
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import maximum_filter
from scipy.stats import chi2_contingency

from vocseg.data.image_io import ImageMask, resize_pair
from vocseg.data.transforms.augment import Augmentation, Augmenter, stored_size

IMAGES, EPOCHS, SIZE, SOURCE = 800, 3, 32, 48  # crops come from SOURCE pixels each way
Floats = npt.NDArray[np.float64]
_TOGETHER = {("contrast", "brightness"), ("hue", "saturation")}  # of one transform: both change or neither


def filled(augmentation: Augmentation, pair: ImageMask) -> tuple[Floats, Floats]:
    """Images `[N,size,size,3]` and masks `[N,size,size]` of every draw; void is NaN in both."""
    augmenter = Augmenter(augmentation, SIZE, 11, IMAGES)
    waiting = resize_pair(pair, stored_size(SIZE, augmentation))
    images = np.empty((EPOCHS, IMAGES, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((EPOCHS, IMAGES, SIZE, SIZE), np.uint8)
    for epoch in range(EPOCHS):
        augmenter.fill_batch([waiting] * IMAGES, range(IMAGES), epoch, images[epoch], masks[epoch])
    pixels = images.reshape(-1, SIZE, SIZE, 3).astype(float)
    labels = masks.reshape(-1, SIZE, SIZE).astype(float)
    void = labels == 255
    labels[void] = np.nan
    pixels[maximum_filter(void, (1, 5, 5))] = np.nan  # as far as a blur carries the padding's colour
    return pixels, labels


def flat(*colour: int) -> ImageMask:
    return ImageMask(np.full((SOURCE, SOURCE, 3), colour, np.uint8), np.zeros((SOURCE, SOURCE), np.uint8))


def _signs(values: Floats, least: float) -> Floats:
    """-1, 0 or 1; what is nearer to 0 than `least` is 0."""
    return np.sign(np.where(np.abs(values) < least, 0, values))


@cache
def geometry_of(augmentation: Augmentation) -> dict[str, Floats]:
    """Flip, scale, and where each draw looks; NaN where it shows all there is, and so has no choice."""
    columns = np.tile(np.arange(SOURCE, dtype=np.uint8), (SOURCE, 1))
    blank = np.zeros((SOURCE, SOURCE, 3), np.uint8)
    across = filled(augmentation, ImageMask(blank, columns))[1]
    down = filled(augmentation, ImageMask(blank, np.ascontiguousarray(columns.T)))[1]
    step = np.nanmean(np.diff(across, axis=2), axis=(1, 2))
    flip = np.where(step < 0, -1.0, 1.0)
    place = np.arange(SIZE) - (SIZE - 1) / 2
    inside = ~np.isnan(across)
    whole = inside.all((1, 2))
    # Enlarged, a crop moves over the picture; else the picture moves within the crop, and is then flipped.
    x = np.where(whole, np.nanmean(across, (1, 2)) - (SOURCE - 1) / 2, flip * _mean(inside, place[None, :]))
    y = np.where(whole, np.nanmean(down, (1, 2)) - (SOURCE - 1) / 2, _mean(inside, place[:, None]))
    found = {"flip": flip, "scale": np.digitize(1 / np.abs(step), [0.53, 1.07]).astype(float)}
    return found | {name: with_choice(values) for name, values in (("x", x), ("y", y))}


def _mean(inside: npt.NDArray[np.bool_], place: Floats) -> Floats:
    return (inside * place).sum((1, 2)) / inside.sum((1, 2))


def with_choice(values: Floats) -> Floats:
    return np.where(np.abs(values) < 0.3, np.nan, np.sign(values))


@cache
def _greys() -> tuple[Floats, Floats]:
    """What `standard` makes of grey 100, `[N,3]`, and the contrast of every draw."""
    dark, bright = (np.nanmean(filled("standard", flat(*[grey] * 3))[0], axis=(1, 2)) for grey in (100, 140))
    return dark, (bright.max(1) - dark.max(1)) / 40  # the largest channel is the one that hue leaves alone


@cache
def light_of() -> dict[str, Floats]:
    """Contrast, brightness, hue, saturation and blur of every draw of `standard`."""
    with np.errstate(invalid="ignore"):
        dark, contrast = _greys()
        red = np.nanmean(filled("standard", flat(150, 90, 90))[0], axis=(1, 2))
        shift = dark.max(1) - 100 * contrast
        expected = 60 * contrast / (150 * contrast + shift)
        saturation = (red.max(1) - red.min(1)) / red.max(1) - expected
        hue = (red[:, 1] - red[:, 2]) / (red.max(1) - red.min(1))
    return {
        "contrast": _signs(contrast - 1, 0.02),
        "brightness": _signs(shift + 0.0, 6),
        "hue": _signs(hue, 0.06),
        "saturation": _signs(saturation, 0.02),
        "blur": blurred("standard", 0.96),
    }


def blurred(augmentation: Augmentation, least: float) -> Floats:
    """Whether neighbours differ less than the crop alone and the contrast explain; noise cancels out."""
    return (_detail(augmentation) / _greys()[1] / _detail("crops") < least).astype(float)


@cache
def _detail(augmentation: Augmentation) -> Floats:
    """Mean difference of neighbours in noise, less what the augmentation adds to it."""
    noise = np.random.default_rng(0).choice([100, 140], (SOURCE, SOURCE, 1)).astype(np.uint8)
    image = ImageMask(np.repeat(noise, 3, 2), flat(0, 0, 0).mask)
    shown = filled(augmentation, image)[0] - filled(augmentation, flat(120, 120, 120))[0]
    return np.asarray(np.nanmean(np.abs(np.diff(shown.mean(3), axis=2)), axis=(1, 2)))


def check_independence(decisions: dict[str, Floats]) -> None:
    for (one, a), (two, b) in itertools.combinations(decisions.items(), 2):
        known = ~np.isnan(a) & ~np.isnan(b)
        if (one, two) in _TOGETHER:
            known &= (a != 0) & (b != 0)
        (_, rows), (_, columns) = (np.unique(each[known], return_inverse=True) for each in (a, b))
        table = np.zeros((rows.max() + 1, columns.max() + 1))
        np.add.at(table, (rows, columns), 1)
        assert min(table.shape) > 1, f"{one} or {two} never changes"
        assert min(table.sum(0).min(), table.sum(1).min()) > 0.1 * len(rows), f"{one}, {two}: {table}"
        p = chi2_contingency(table).pvalue
        assert p > 1e-4, f"{one} goes with {two} (p = {p:.1e}): {table}"


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_augmentation_decisions_are_independent() -> None:
    geometry = geometry_of("crops")
    check_independence(geometry)
    same = geometry_of("standard")
    assert all(np.array_equal(geometry[name], same[name], equal_nan=True) for name in geometry)
    check_independence({**geometry, **light_of()})
    columns = np.tile(np.arange(SOURCE, dtype=np.uint8), (SOURCE, 1))
    light = filled("light", ImageMask(np.zeros((SOURCE, SOURCE, 3), np.uint8), columns))[1]
    assert np.array_equal(light[:, 0, 0] > light[:, 0, -1], geometry["flip"] < 0)


def test_independence_check_detects_correlation() -> None:
    decisions = np.random.default_rng(0).choice([-1.0, 1.0], 2400)
    other = np.where(np.random.default_rng(1).random(2400) < 0.15, decisions, np.roll(decisions, 1))
    with pytest.raises(AssertionError, match="a goes with b"):
        check_independence({"a": decisions, "b": other})
