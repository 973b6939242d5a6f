"""CutMix, CutOut and noise of the augmentation `strong`."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import ready
from vocseg.data import datamodule
from vocseg.data.dataloader import RankInfo
from vocseg.data.image_io import ImageMask
from vocseg.data.samplers import EpochPosition
from vocseg.data.transforms.augment import Augmentation, Augmenter, epoch_extras
from vocseg.data.transforms.crops import neutral
from vocseg.data.transforms.cutmix import add_noise, sample_cutmix_box, sample_cutout_boxes

VOID, SIZE, IMAGES = 255, 64, 40


def _flat(label: int, colour: int, shape: tuple[int, int] = (96, 96)) -> ImageMask:
    return ImageMask(np.full((*shape, 3), colour, np.uint8), np.full(shape, label, np.uint8))


def _batch(
    augmentation: Augmentation, pair: ImageMask, partner: ImageMask | None = None, epoch: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks of every position, all of one pair and one partner."""
    augmenter = Augmenter(augmentation, SIZE, 42, IMAGES)
    images = np.empty((IMAGES, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((IMAGES, SIZE, SIZE), np.uint8)
    partners = [None if k is None else partner for k in augmenter.cutmix_partners(range(IMAGES), epoch)]
    augmenter.fill_batch([pair] * IMAGES, range(IMAGES), epoch, images, masks, partners)
    return images, masks


def test_cutmix_partner_is_uniform() -> None:
    augmenter = Augmenter("strong", SIZE, 42, IMAGES)
    chosen = np.array([augmenter.cutmix_partners(range(IMAGES), epoch) for epoch in range(200)], float)
    assert 0.47 < (~np.isnan(chosen)).mean() < 0.53
    assert not (chosen == np.arange(IMAGES)).any()
    counts = np.bincount(chosen[~np.isnan(chosen)].astype(int), minlength=IMAGES)
    assert len(counts) == IMAGES
    assert abs(counts / counts.mean() - 1).max() < 0.35  # 100 draws of each, give or take 10
    for position in range(IMAGES):
        assert len(np.unique(chosen[:, position][~np.isnan(chosen[:, position])])) > IMAGES // 2


def test_cutmix_partner_depends_on_seed_epoch_index() -> None:
    whole = Augmenter("strong", SIZE, 42, IMAGES).cutmix_partners(range(IMAGES), 3)
    other = Augmenter("strong", SIZE, 42, IMAGES)
    other.cutmix_partners(range(IMAGES), 9)
    assert [other.cutmix_partners([k], 3)[0] for k in reversed(range(IMAGES))] == whole[::-1]
    assert whole != other.cutmix_partners(range(IMAGES), 4)
    assert whole != Augmenter("strong", SIZE, 43, IMAGES).cutmix_partners(range(IMAGES), 3)


@pytest.mark.parametrize("name", ["none", "light", "crops", "standard"])
def test_cutmix_only_in_strong_with_several_images(name: Augmentation) -> None:
    assert Augmenter(name, SIZE, 42, IMAGES).cutmix_partners(range(IMAGES), 0) == [None] * IMAGES
    assert Augmenter("strong", SIZE, 42, 1).cutmix_partners([0] * 9, 0) == [None] * 9


def test_cutmix_box_shows_partner() -> None:
    y, x = np.mgrid[:96, :96]
    ramp = ImageMask(
        np.stack([100 + x // 2, 100 + y // 2, 0 * x], -1).astype(np.uint8), (100 + x).astype(np.uint8)
    )
    brighter = []
    for epoch in range(3):
        images, masks = _batch("strong", _flat(3, 0), ramp, epoch)
        plain, unmixed = _batch("strong", _flat(3, 0), None, epoch)
        for k in np.flatnonzero((masks >= 100).any((1, 2)) & (masks < VOID).any((1, 2))):
            inside = (masks[k] >= 100) & (masks[k] != VOID)
            if not inside.any():
                continue
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            box = masks[k][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert ((box >= 100) | (box == VOID)).all()  # VOID: a hole, as the partner has no void
            assert not np.isin(masks[k][~inside], np.arange(100, 197)).any()
            assert (masks[k][~inside] == np.where(masks[k] == VOID, VOID, unmixed[k])[~inside]).all()
            covered = inside & (unmixed[k] == 3)  # black without the piece; what was padded is not
            if covered.any():
                brighter.append(images[k][covered].max() > plain[k][covered].max())
    assert len(brighter) > 30
    assert all(brighter)


def test_missing_partner_changes_nothing_else() -> None:
    images, masks = _batch("strong", _flat(3, 90), _flat(7, 200))
    plain, unmixed = _batch("strong", _flat(3, 90), None)
    alone = ~(masks == 7).any((1, 2))
    assert 0.3 < alone.mean() < 0.7
    assert (masks[alone] == unmixed[alone]).all()
    assert (images[alone] == plain[alone]).all()
    assert (unmixed[masks == VOID] == VOID).all()  # the holes are the same
    assert set(np.unique(unmixed)) == {3, VOID}


def test_cutout_is_neutral_and_ignored() -> None:
    images, masks = _batch("strong", _flat(3, 90))
    padded = _batch("crops", _flat(3, 90))[1] == VOID
    cut = (masks == VOID) & ~padded
    assert 0.3 < cut.any((1, 2)).mean() < 0.7
    assert (images[cut] == neutral(SIZE)[0, 0]).all()
    assert (masks[padded] == VOID).all()


def test_boxes_are_inside_and_use_complete_range() -> None:
    extras = np.concatenate([epoch_extras(1, epoch, 500) for epoch in range(4)])
    for size in (32, 256):
        pieces = [sample_cutmix_box(size, each["piece"]) for each in extras]
        sides = np.array([[span.stop - span.start for span in piece] for piece in pieces])
        areas = sides.prod(1) / size**2
        assert 0.07 < areas.min() < 0.13
        assert 0.45 < areas.max() < 0.53
        cut = [part for each in extras for part in sample_cutout_boxes(size, each)]
        assert {len(sample_cutout_boxes(size, each)) for each in extras} == {1, 2, 3}
        for parts in (pieces, cut):
            ends = np.array([(s.start, s.stop) for part in parts for s in part])
            assert ends.min() == 0
            assert ends.max() == size
            assert (ends[:, 1] > ends[:, 0]).all()


def test_noise_is_normal_and_unbiased() -> None:
    found = []
    for draws in ((0.0, 0.1, 0.9), (0.5, 0.1, 0.9), (1.0, 0.8, 0.2)):
        image = np.full((128, 128, 3), 128, np.uint8)
        add_noise(image, np.array(draws))
        found.append(image.astype(float) - 128)
    assert [round(float(each.std())) for each in found] == [4, 12, 20]
    assert all(abs(each.mean()) < 0.4 for each in found)
    strong = found[2]
    for one, two in ((strong[1:], strong[:-1]), (strong[..., 0], strong[..., 1]), (strong, found[1])):
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.03
    assert np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1] > 0.95  # one place in the pattern
    white = np.full((64, 64, 3), 255, np.uint8)
    add_noise(white, np.ones(3) * 0.5)
    assert white.min() > 128  # no value runs over


def test_strong_images_equal_for_any_world_size_and_resume(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(rank: int, world: int, batch: int, done: int = 0) -> dict[int, tuple[bytes, bytes]]:
        data = ready(
            sample,
            32,
            augmentation="strong",
            batch_size=batch,
            cache=False,
            verify_files=False,
            num_workers=0,
        )
        monkeypatch.setattr(datamodule, "rank_info", lambda trainer: RankInfo(rank, world))  # the trainer's
        data.progress.next = EpochPosition(2, done)
        return {
            int(index): (image.numpy().tobytes(), mask.numpy().tobytes())
            for got in data.train_dataloader()
            for index, image, mask in zip(got["index"], got["image"], got["mask"], strict=True)
        }

    alone = images(0, 1, 4)
    assert len(alone) == 20
    assert images(0, 2, 2) | images(1, 2, 2) == alone
    rest = images(0, 1, 4, done=3)
    assert len(rest) == 8
    assert rest.items() <= alone.items()
