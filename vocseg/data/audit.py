"""Looks at every file before it can cost a night: the first fault ends the run with its name."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vocseg.data.reading import read_pair
from vocseg.errors import UserError

Pair = tuple[Path, Path]


def check_pairs(pairs: Iterable[Pair], progress: bool = True) -> None:
    """Read every image and its mask once, with all cores.

    Args:
        pairs: The (image, mask) files; what is named twice is read once.
        progress: Show a progress bar.

    Raises:
        UserError: For the first pair that is missing, damaged, of two sizes, or wrongly labelled.
    """
    from rich.progress import track

    pairs = list(dict.fromkeys(pairs))
    _check_presence(pairs)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        checked = pool.map(lambda pair: read_pair(*pair), pairs)
        try:
            for _ in track(checked, "checking the data", len(pairs), transient=True, disable=not progress):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def _check_presence(pairs: list[Pair]) -> None:
    """Missing files are the commonest fault and show at once."""
    missing = [path for pair in pairs for path in pair if not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}{more} is missing: restore it, or remove its id from the split list")
