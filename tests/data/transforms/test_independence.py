"""Independence of the random decisions of the augmentation.

Decisions are derived from batches of the public `Augmenter`. They depend on seed, epoch and position
alone, so that several images, each made to show one decision, get the same ones.
"""

import itertools
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import find_objects, label, maximum_filter
from scipy.stats import chi2_contingency

from vocseg.data.image_io import ImageMask, resize_pair
from vocseg.data.transforms.augment import Augmentation, Augmenter, stored_size

IMAGES, EPOCHS, SIZE, SOURCE = 800, 3, 32, 48  # crops come from SOURCE pixels each way
Floats = npt.NDArray[np.float64]
_TOGETHER = {("contrast", "brightness"), ("hue", "saturation")}  # of one transform: both change or neither
_ONLY_WHERE = {
    "mixed": ("partner", "piece"),
    "cut": ("hole",),
    "noisy": ("noise", "grain"),
    "holes": ("hole'",),
}


def filled(
    augmentation: Augmentation,
    pair: ImageMask,
    seed: int = 11,
    partner: ImageMask | None = None,
    count: int = IMAGES,
) -> tuple[Floats, Floats]:
    """Images `[N,size,size,3]` and masks `[N,size,size]` of every draw; void is NaN in both."""
    augmenter = Augmenter(augmentation, SIZE, seed, count)
    waiting = resize_pair(pair, stored_size(SIZE, augmentation))
    images = np.empty((EPOCHS, count, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((EPOCHS, count, SIZE, SIZE), np.uint8)
    for epoch in range(EPOCHS):
        chosen = augmenter.cutmix_partners(range(count), epoch)
        partners = [None if k is None else partner for k in chosen]
        augmenter.fill_batch([waiting] * count, range(count), epoch, images[epoch], masks[epoch], partners)
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
        if any(two.startswith(each) for each in _ONLY_WHERE.get(one, ())):
            continue
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


@pytest.mark.parametrize("augmentation", ["crops", "standard", "strong"])
def test_random_numbers_do_not_repeat(augmentation: Augmentation) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SOURCE, SOURCE, 3), np.uint8)
    pair = ImageMask(noise, np.zeros((SOURCE, SOURCE), np.uint8))
    first, again, other = (
        np.nan_to_num(filled(augmentation, pair, seed, count=200)[0]) for seed in (11, 11, 12)
    )
    assert np.array_equal(first, again)
    epochs = first.reshape(EPOCHS, 200, -1)
    for one, two in ((epochs[0], epochs[1]), (epochs[:, :-1], epochs[:, 1:])):
        assert (one == two).all(-1).mean() < 0.02  # a crop of few pixels may look like another
    assert (first == other).all((1, 2, 3)).mean() < 0.02


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
