"""Augmentation: masks keep their labels and stay aligned with the image; every draw follows from its key."""

import numpy as np
import pytest

from vocseg.data.crops import crop_extents, crop_into
from vocseg.data.reading import Pair
from vocseg.data.transforms import Augmentation, Augmenter, stored_form

VOID = 255
TRAINING: list[Augmentation] = ["light", "crops", "standard"]


def _coordinates(height: int, width: int) -> Pair:
    """A pair that says where each pixel came from: smooth ramps, and the same in steps in the mask."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 250 // width, y * 250 // height, np.zeros_like(x)], -1).astype(np.uint8)
    return Pair(image, (x * 5 // width + 5 * (y * 4 // height)).astype(np.uint8))


def _draw(
    augmentation: Augmentation, pair: Pair, size: int, index: int = 0, epoch: int = 0, seed: int = 0
) -> Pair:
    images, masks = np.empty((1, size, size, 3), np.uint8), np.empty((1, size, size), np.uint8)
    waiting = stored_form(size, augmentation)(pair)
    Augmenter(augmentation, size, seed, 64).fill([waiting], [index], epoch, images, masks)
    return Pair(images[0], masks[0])


@pytest.mark.parametrize("augmentation", ["none", "light", "crops"])
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (120, 90)])
def test_image_and_mask_stay_aligned(augmentation: Augmentation, shape: tuple[int, int]) -> None:
    for index in range(24):
        image, mask = _draw(augmentation, _coordinates(*shape), 128, index)
        inside = mask != VOID
        x, y = image[..., 0].astype(int), image[..., 1].astype(int)
        # A pixel's step in the mask follows from its colour, but for those next to a step's edge.
        column, row = x * 5 // 250, y * 4 // 250
        clear = (abs(x % 50 - 25) < 21) & (abs(y % 62.5 - 31) < 27) & inside
        assert clear.sum() > 0.4 * inside.sum()
        assert (mask[clear] == (column + 5 * row)[clear]).all()


def test_a_mark_of_one_block_is_found_at_the_same_pixels_in_both() -> None:
    pair = Pair(np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), np.uint8))
    pair.image[90:210, 130:270] = 255
    pair.mask[90:210, 130:270] = 15
    for index in range(48):
        image, mask = _draw("crops", pair, 160, index)
        bright = image[..., 0] > 127
        wrong = (bright != (mask == 15)) & (mask != VOID)
        assert wrong.mean() < 0.012  # half a pixel along the outline
        assert mask[mask != VOID].size > 0


@pytest.mark.parametrize("augmentation", TRAINING)
def test_masks_hold_no_label_that_was_not_there_but_void(augmentation: Augmentation) -> None:
    mask = np.random.default_rng(0).choice([0, 5, 20], (200, 260)).astype(np.uint8)
    pair = Pair(np.zeros((200, 260, 3), np.uint8), mask)
    for index in range(16):
        assert set(np.unique(_draw(augmentation, pair, 96, index).mask)) <= {0, 5, 20, VOID}


def test_beyond_the_picture_is_void_and_the_image_neutral() -> None:
    pair = Pair(np.zeros((100, 200, 3), np.uint8), np.zeros((100, 200), np.uint8))
    image, mask = np.empty((128, 128, 3), np.uint8), np.empty((128, 128), np.uint8)
    crop_into(
        pair, crop_extents((100, 200), 128, np.array([0.0, 0.5, 0.5])), image, mask
    )  # the smallest scale
    assert (mask == VOID).mean() == 0.5
    assert (image[mask == VOID] == [124, 116, 104]).all()
    assert (image[mask != VOID] == 0).all()


def test_scales_and_places_use_their_whole_range() -> None:
    draws = np.random.default_rng(0).random((2000, 3))
    extents = [crop_extents((375, 500), 256, draw) for draw in draws]
    scales = np.array([columns.room / columns.length for _, columns in extents]) * 375 / 256
    assert 0.5 <= scales.min() < 0.53
    assert 1.9 < scales.max() <= 2.02
    assert abs((scales < 1).mean() - 0.5) < 0.05  # as often smaller as larger
    inside = [rows for rows, _ in extents if rows.room == 256]
    ends = np.array([(rows.start, 375 - rows.start - rows.length) for rows in inside])
    assert (ends >= 0).all()
    assert (ends[:, 0] == 0).any()
    assert (ends[:, 1] == 0).any()


@pytest.mark.parametrize("augmentation", TRAINING)
def test_seed_epoch_and_position_fix_a_draw_and_each_changes_it(augmentation: Augmentation) -> None:
    pair = Pair(
        np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8), np.zeros((80, 100), np.uint8)
    )

    def draws(**key: int) -> list[bytes]:
        return [_draw(augmentation, pair, 64, index=k, **key).image.tobytes() for k in range(32)]

    first = draws()
    assert first == draws()
    assert len(set(first)) > (1 if augmentation == "light" else 30)
    assert first != draws(epoch=1)
    assert first != draws(seed=1)


def test_flips_are_fair_and_independent_of_the_place() -> None:
    pair = _coordinates(64, 64)
    flipped = [
        _draw("light", pair, 64, index=k, epoch=e).image[0, 0, 0] > 0 for e in range(8) for k in range(64)
    ]
    assert 0.43 < np.mean(flipped) < 0.57


def test_none_changes_nothing_but_the_size() -> None:
    pair = _coordinates(80, 90)
    plain = stored_form(64, "none")(pair)
    drawn = _draw("none", pair, 64, index=3, epoch=7)
    assert (drawn.image == plain.image).all()
    assert (drawn.mask == plain.mask).all()


def test_standard_changes_colours_but_not_what_the_mask_says() -> None:
    pair = _coordinates(80, 100)
    crops, standard = (
        [_draw(name, pair, 64, index=k) for k in range(16)]
        for name in ("crops", "standard")  # type: ignore[arg-type]
    )
    assert all((a.mask == b.mask).all() for a, b in zip(crops, standard, strict=True))
    assert sum((a.image != b.image).any() for a, b in zip(crops, standard, strict=True)) >= 8
