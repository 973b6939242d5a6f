"""Threads that compute side by side."""

import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vocseg.utils.streams import Streams, logits_by_image


@pytest.fixture
def two_threads() -> Iterator[None]:
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(own)


@pytest.mark.usefixtures("two_threads")
def test_streams_divide_threads_of_torch() -> None:
    def threads(_: int) -> int:
        time.sleep(0.01)
        return torch.get_num_threads()

    with Streams(8) as streams:
        assert list(streams.map(threads, range(6))) == [1] * 6
        with Streams(1) as inner:
            assert list(inner.map(threads, range(2))) == [2, 2]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_map_keeps_order_and_bounds_pending_items() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for k in range(20):
            read.append(k)
            yield k

    def slow(k: int) -> int:
        time.sleep(0.02 if k % 2 == 0 else 0)
        return k

    with Streams(2) as streams:
        found = streams.map(slow, items())
        assert next(found) == 0
        assert len(read) <= 4
        assert list(found) == list(range(1, 20))


def test_error_of_background_call_is_raised_later() -> None:
    def fail() -> None:
        raise ValueError("broken")

    with Streams(1) as streams:
        streams.put(fail)
        with pytest.raises(ValueError, match="broken"):
            streams.wait()


@pytest.mark.usefixtures("two_threads")
def test_logits_by_image_use_autocast_of_caller() -> None:
    seen: list[tuple[int, bool, bool]] = []

    def predict(images: Tensor) -> Tensor:
        seen.append((len(images), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()))
        return images.float().mean(1, keepdim=True)

    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = logits_by_image(predict, images)
    assert torch.equal(found, images.float().mean(1, keepdim=True))
    assert seen == [(1, True, True)] * 5
    torch.set_num_threads(1)
    assert torch.equal(logits_by_image(predict, images), found)
    assert seen[-1][0] == 5
