"""Progress bar and threads for loops outside the trainer."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 64  # results in memory at a time


def follow(items: Iterable[T], what: str, total: int, show: bool = True) -> Iterator[T]:
    """Iterate with a progress bar if standard output is a terminal.

    Args:
        items: Items to iterate over.
        what: Description of the bar.
        total: Number of items.
        show: False disables the bar.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console()
    show = show and console.is_terminal  # empty lines in a file or a pipe
    return iter(track(items, what, total, transient=True, disable=not show, console=console))


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Apply a function on all cores; yields results in order, with a limited number in memory."""
    import cv2

    threads, waiting = cv2.getNumThreads(), deque[Future[R]]()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            cv2.setNumThreads(1)  # one of our threads per core is enough
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            cv2.setNumThreads(threads)
