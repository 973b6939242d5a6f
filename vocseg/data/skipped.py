"""Unreadable samples that training skips.

In a batch such an image is black under a mask of void, and its index says which it is: -2 - position. So
loader processes need no other way to tell the main one, and what leaves fillers (-1) out leaves it out too.
"""

import warnings
from collections.abc import Callable, Sequence

from torch import Tensor

from vocseg.errors import UserError

_MOST = 0.1  # share of a split from which it is no accident any more


def lost(position: int) -> int:
    """The index of an image that cannot be read; of that index, the position."""
    return -2 - position


class SkippedSamples:
    """Which images of a split this process has left out, with reasons."""

    def __init__(
        self,
        what: str,
        names: Sequence[str],
        read: Callable[[int], object],
        limit: float | None = _MOST,
    ) -> None:
        """Start with none.

        Args:
            what: Name of the split.
            names: Of its images.
            read: Reads the image of a position, or raises `UserError`.
            limit: Share of the images that may be lost; None: all, and nothing is printed before the end.
        """
        self._what, self._names, self._read, self._limit = what, names, read, limit
        self.reasons: dict[str, str] = {}

    def note(self, index: Tensor) -> None:
        """Look through the indices `[N]` of a batch.

        Raises:
            UserError: If more images are lost than an accident explains.
        """
        if not len(index) or int(index.min()) > -2:
            return
        for value in index.tolist():
            if value < -1 and self._names[lost(value)] not in self.reasons:
                self._add(lost(value))

    def _add(self, position: int) -> None:
        name, reason = self._names[position], self._reason(position)
        self.reasons[name] = reason
        if self._limit is None:
            return
        count, all_of = len(self.reasons), len(self._names)
        if count > max(1, self._limit * all_of):
            raise UserError(
                f"{count} of the {all_of} images of {self._what} cannot be read, too many for "
                f"--data.on_read_error skip; the last one: {reason}"
            )
        warnings.warn(f"vocseg: {name} is left out: {reason}", stacklevel=2)

    def _reason(self, position: int) -> str:
        try:
            self._read(position)
        except UserError as fault:
            return fault.sentence
        return "it could not be read for a while"
