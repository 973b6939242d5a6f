"""Progress bar for loops outside the trainer."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def follow(items: Iterable[T], what: str, total: int, show: bool = True) -> Iterator[T]:
    """Hand items on, with a bar while a terminal is looking.

    Args:
        items: What is worked through.
        what: The work, for the bar.
        total: Number of items.
        show: Whether a bar is wanted at all.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console()
    show = show and console.is_terminal  # in a file or a pipe it would leave empty lines
    return iter(track(items, what, total, transient=True, disable=not show, console=console))
