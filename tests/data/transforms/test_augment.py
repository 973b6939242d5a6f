"""Augmentation as a function of seed, epoch and index."""

import hashlib
from importlib.metadata import version

import numpy as np
import pytest

from vocseg.data.image_io import ImageMask, resize_pair
from vocseg.data.transforms.augment import Augmentation, Augmenter, stored_size
from vocseg.data.transforms.crops import crop_extents, crop_into, scales
from vocseg.errors import UserError

VOID = 255
TRAINING: list[Augmentation] = ["light", "crops", "standard", "strong"]


def _coordinates(height: int, width: int) -> ImageMask:
    """A pair that says where each pixel came from: smooth ramps, and the same in steps in the mask."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 250 // width, y * 250 // height, np.zeros_like(x)], -1).astype(np.uint8)
    return ImageMask(image, (x * 5 // width + 5 * (y * 4 // height)).astype(np.uint8))


def _draw(
    augmentation: Augmentation, pair: ImageMask, size: int, index: int = 0, epoch: int = 0, seed: int = 0
) -> ImageMask:
    images, masks = np.empty((1, size, size, 3), np.uint8), np.empty((1, size, size), np.uint8)
    waiting = resize_pair(pair, stored_size(size, augmentation))
    Augmenter(augmentation, size, seed, 64).fill_batch([waiting], [index], epoch, images, masks)
    return ImageMask(images[0], masks[0])


@pytest.mark.parametrize("augmentation", ["none", "light", "crops"])
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (120, 90)])
def test_augmented_image_and_mask_stay_aligned(augmentation: Augmentation, shape: tuple[int, int]) -> None:
    for index in range(24):
        image, mask = _draw(augmentation, _coordinates(*shape), 128, index)
        inside = mask != VOID
        x, y = image[..., 0].astype(int), image[..., 1].astype(int)
        # A pixel's step in the mask follows from its colour, but for those next to a step's edge.
        column, row = x * 5 // 250, y * 4 // 250
        clear = (abs(x % 50 - 25) < 21) & (abs(y % 62.5 - 31) < 27) & inside
        assert clear.sum() > 0.4 * inside.sum()
        assert (mask[clear] == (column + 5 * row)[clear]).all()


@pytest.mark.parametrize("augmentation", ["none", *TRAINING])
@pytest.mark.parametrize("labels", [(0, 5, 20), (5, 20), (0, 5, VOID)])
def test_augmented_mask_has_no_new_labels(augmentation: Augmentation, labels: tuple[int, ...]) -> None:
    own, other = (
        resize_pair(
            ImageMask(np.zeros((90, 130, 3), np.uint8), mask.astype(np.uint8)), stored_size(48, augmentation)
        )
        for mask in (np.random.default_rng(0).choice(chosen, (90, 130)) for chosen in (labels, (7, 9)))
    )
    images, masks = np.empty((64, 48, 48, 3), np.uint8), np.empty((64, 48, 48), np.uint8)
    augmenter = Augmenter(augmentation, 48, 0, 64)
    partners = [None if k is None else other for k in augmenter.cutmix_partners(range(64), 0)]
    augmenter.fill_batch([own] * 64, range(64), 0, images, masks, partners)
    mixed = np.array([partner is not None for partner in partners])
    assert mixed.any() == (augmentation == "strong")
    assert set(np.unique(masks[~mixed])) <= {*labels, VOID}
    assert set(np.unique(masks[mixed])) <= {*labels, 7, 9, VOID}
    if augmentation in ("none", "light", "crops"):  # what is not black was padded
        assert ((masks == VOID) | (images.max(3) == 0)).all()
        assert VOID in labels or ((masks == VOID) == (images.max(3) > 0)).all()


def test_crop_padding_is_ignored_and_neutral() -> None:
    pair = ImageMask(np.zeros((200, 200, 3), np.uint8), np.zeros((200, 200), np.uint8))
    image, mask = np.empty((128, 128, 3), np.uint8), np.empty((128, 128), np.uint8)
    crop_into(pair, crop_extents(200, 128, np.array([0.0, 0.5, 0.5])), image, mask)  # the smallest scale
    assert (mask == VOID).mean() == 0.75
    assert (image[mask == VOID] == [124, 116, 104]).all()
    assert (image[mask != VOID] == 0).all()


@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (96, 80)])
def test_crop_at_scale_one_equals_validation(shape: tuple[int, int]) -> None:
    pair = _coordinates(*shape)
    image, mask = np.empty((128, 128, 3), np.uint8), np.empty((128, 128), np.uint8)
    waiting = resize_pair(pair, stored_size(128, "crops"))
    crop_into(waiting, crop_extents(len(waiting.mask), 128, np.array([0.5, 0.3, 0.8])), image, mask)
    scored = resize_pair(pair, stored_size(128, "none"))
    assert abs(image.astype(int) - scored.image).max() <= 3  # it was made smaller in two steps
    assert (mask != scored.mask).mean() < 0.03


def test_crops_use_complete_range() -> None:
    draws = np.random.default_rng(0).random((2000, 3))
    extents = [crop_extents(375, 256, draw) for draw in draws]
    scales = np.array([columns.target_length / columns.length for _, columns in extents]) * 375 / 256
    assert 0.5 <= scales.min() < 0.53
    assert 1.9 < scales.max() <= 2.02
    assert abs((scales < 1).mean() - 0.5) < 0.05  # as often smaller as larger
    inside = [rows for rows, _ in extents if rows.target_length == 256]
    ends = np.array([(rows.start, 375 - rows.start - rows.length) for rows in inside])
    assert (ends >= 0).all()
    assert (ends[:, 0] == 0).any()
    assert (ends[:, 1] == 0).any()


@pytest.mark.parametrize("augmentation", TRAINING)
def test_augmentation_depends_on_seed_epoch_index(augmentation: Augmentation) -> None:
    pair = ImageMask(
        np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8), np.zeros((80, 100), np.uint8)
    )

    def draws(**key: int) -> list[bytes]:
        return [_draw(augmentation, pair, 64, index=k, **key).image.tobytes() for k in range(32)]

    first = draws()
    assert first == draws()
    assert len(set(first)) > (1 if augmentation == "light" else 30)
    assert first != draws(epoch=1)
    assert first != draws(seed=1)


def test_flips_are_fair_and_independent() -> None:
    pair = _coordinates(64, 64)
    flipped = [
        _draw("light", pair, 64, index=k, epoch=e).image[0, 0, 0] > 0 for e in range(8) for k in range(64)
    ]
    assert 0.43 < np.mean(flipped) < 0.57


def test_none_only_resizes() -> None:
    pair = _coordinates(80, 90)
    plain = resize_pair(pair, stored_size(64, "none"))
    drawn = _draw("none", pair, 64, index=3, epoch=7)
    assert (drawn.image == plain.image).all()
    assert (drawn.mask == plain.mask).all()


# Of batches of vocseg 0.2: a run that goes on must see what it would have seen. (0.1 cropped pictures in
# their own proportions; its runs are refused by their version.)
DIGESTS = {
    "none": "2d9ae4817d22bc63",
    "light": "fc448fed9011683e",
    "crops": "cf4e870bfb6d7cb6",
    "standard": "2f0de1faf26915bd",
}


@pytest.mark.parametrize("augmentation", DIGESTS)
def test_augmentation_values_are_stable(augmentation: Augmentation) -> None:
    made_with = {"opencv-python-headless": "5.0.0.93", "albumentations": "2.0.8", "numpy": "2.4.6"}
    for package, wanted in made_with.items():
        if version(package) != wanted:
            pytest.skip(f"the digests were taken with {package} {wanted}")
    pairs = _patchworks(augmentation)
    digest, augmenter = hashlib.sha256(), Augmenter(augmentation, 32, 42, len(pairs))
    for epoch in range(16):
        order = np.random.default_rng(epoch).permutation(len(pairs)).tolist()
        images, masks = np.empty((5, 32, 32, 3), np.uint8), np.empty((5, 32, 32), np.uint8)
        augmenter.fill_batch([pairs[k] for k in order], order, epoch, images, masks)
        digest.update(images.tobytes() + masks.tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[augmentation]


def _patchworks(augmentation: Augmentation) -> list[ImageMask]:
    """Pairs of patches of 4 x 4 pixels, in several shapes."""
    chance, pairs = np.random.default_rng(5), []
    for height, width in ((40, 52), (48, 48), (61, 35), (30, 90), (48, 64)):
        patches = -(-height // 4), -(-width // 4)
        image = chance.integers(0, 256, (*patches, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        mask = chance.choice(np.array([0, 3, 20, VOID], np.uint8), patches).repeat(4, 0).repeat(4, 1)
        pair = ImageMask(*(np.ascontiguousarray(each[:height, :width]) for each in (image, mask)))
        if augmentation in ("none", "light"):
            pair = ImageMask(np.resize(pair.image, (32, 32, 3)), np.resize(pair.mask, (32, 32)))
        pairs.append(pair)
    return pairs


@pytest.mark.parametrize(
    ("given", "least", "most"), [((1, 2), 0, 0), ((0.5, 0.5), 0.74, 0.76), ((0.5, 2), 0.02, 0.74)]
)
def test_only_crops_below_scale_one_are_padded(given: tuple[float, float], least: float, most: float) -> None:
    pair = ImageMask(np.full((96, 96, 3), 9, np.uint8), np.ones((96, 96), np.uint8))
    images, masks = np.empty((64, 64, 64, 3), np.uint8), np.empty((64, 64, 64), np.uint8)
    Augmenter("crops", 64, 5, 64, given).fill_batch([pair] * 64, range(64), 0, images, masks)
    padded = (masks == VOID).mean()
    assert least <= padded <= most


@pytest.mark.parametrize("given", [(2, 1), (0, 1), (0.5, 100), (float("nan"), 1)])
def test_crop_scales_out_of_order_or_range_raise(given: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"--data.crop_scale \[.*Give for example \[0.5, 2\]"):
        scales(given)
