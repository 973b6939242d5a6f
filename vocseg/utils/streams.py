"""Threads that compute side by side."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # items per thread that wait or are under way: memory is bounded


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Streams:
    """A thread pool that divides torch's threads among its own.

    On a CPU two images on one core each are ready before two images one after the other on both cores, as the
    threads of one image wait for each other at every layer.
    """

    def __init__(self, count: int) -> None:
        """Start `count` threads, at most one for each of torch's threads."""
        own = torch.get_num_threads()
        self._count = max(1, min(count, own))
        self._pool = ThreadPoolExecutor(self._count, "stream", _set_threads, (own // self._count,))
        self._waiting: deque[Future[Any]] = deque()
        started = threading.Barrier(self._count + 1)
        for _ in range(self._count):
            self._pool.submit(started.wait)
        started.wait()
        torch.set_num_threads(own)  # the threads also set the default of threads to come

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `function(item)` of all items in their order, lazily. The caller's thread reads the items."""
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) >= _AHEAD * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def put(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the background; wait first while too many calls are under way.

        Raises:
            Exception: The error of an earlier call.
        """
        while len(self._waiting) >= _AHEAD * self._count:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function, *arguments))

    def wait(self) -> None:
        """Wait for all calls of `put`; their errors are raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """End the threads after the calls under way. Those that wait are cancelled."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Streams":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def logits_by_image(predict: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Run a network on the images of a batch: on a CPU side by side, else together.

    Args:
        predict: Network from images `[N,3,H,W]` to logits `[N,C,H,W]`.
        images: uint8 `[N,3,H,W]`.

    Returns:
        Logits `[N,C,H,W]`.
    """
    if images.device.type != "cpu" or len(images) == 1 or torch.get_num_threads() == 1:
        return predict(images)
    dtype, enabled = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

    def run(image: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled):  # both are set by thread
            return predict(image)

    with Streams(len(images)) as streams:
        return torch.cat(list(streams.map(run, images[:, None])))


def _set_threads(count: int) -> None:
    torch.get_num_threads()  # a thread takes the default at its first use of torch: it must not do so later
    torch.set_num_threads(count)
