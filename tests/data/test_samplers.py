"""Training and evaluation samplers."""

import itertools

import pytest
import torch

from vocseg.data.samplers import EpochPosition, EvalSampler, Progress, ResumableSampler


def _indices(order: ResumableSampler | EvalSampler) -> list[int]:
    return [draw.index for draw in order]


def test_shuffle_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return _indices(ResumableSampler(24, 4, seed, Progress(lambda: EpochPosition(epoch))))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(5, 3)) == list(range(24))


@pytest.mark.parametrize(("images", "batch", "world"), [(24, 4, 1), (25, 4, 2), (7, 1, 3), (23, 2, 2)])
def test_ranks_get_disjoint_full_batches(images: int, batch: int, world: int) -> None:
    parts = [_indices(ResumableSampler(images, batch, 0, Progress(), rank, world)) for rank in range(world)]
    assert {len(part) for part in parts} == {images // (batch * world) * batch}
    everything = list(itertools.chain(*parts))
    assert len(set(everything)) == len(everything)


def test_global_batches_equal_for_any_world_size() -> None:
    one = _indices(ResumableSampler(24, 4, 0, Progress()))
    two = [_indices(ResumableSampler(24, 2, 0, Progress(), rank, 2)) for rank in range(2)]
    for k in range(6):
        assert set(one[4 * k : 4 * k + 4]) == {*two[0][2 * k : 2 * k + 2], *two[1][2 * k : 2 * k + 2]}


def test_unshuffled_epoch_resumes_in_order() -> None:
    def order(position: EpochPosition, rank: int = 0, world: int = 1) -> list[int]:
        return _indices(ResumableSampler(10, 2, 0, Progress(lambda: position), rank, world, shuffled=False))

    assert order(EpochPosition(0)) == order(EpochPosition(5)) == list(range(10))
    assert order(EpochPosition(3, batch=2)) == [4, 5, 6, 7, 8, 9]
    assert [order(EpochPosition(0), rank, 2) for rank in range(2)] == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("images", range(1, 12))
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_eval_sampler_covers_images_once(images: int, world: int) -> None:
    parts = [list(EvalSampler(images, rank, world)) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert len(EvalSampler(images, 0, world)) == len(parts[0])
    assert sorted(draw.index for part in parts for draw in part if not draw.filler) == list(range(images))


def test_weighted_sampling_is_proportional() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ResumableSampler(300, 4, seed, Progress(lambda: EpochPosition(epoch)))
        sampler.weights = torch.tensor([1.0] * 200 + [3.0] * 100)
        return _indices(sampler)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    drawn = [index for epoch in range(40) for index in order(0, epoch)]
    assert len(drawn) == 40 * 300
    assert sum(index >= 200 for index in drawn) / len(drawn) == pytest.approx(300 / 500, abs=0.02)
