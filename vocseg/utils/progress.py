"""Progress bar for loops outside the trainer."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


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
