"""Unreadable samples that training skips."""

# In a batch such an image is black under an ignored mask, and its index is -2 - position. So DataLoader
# workers need no other channel to the main process, and code that leaves out fillers (-1) leaves it out too.

import warnings
from collections.abc import Callable, Sequence

from torch import Tensor

from vocseg.errors import UserError

_LIMIT = 0.1  # fraction of a split


def lost(position: int) -> int:
    """Return the batch index of an unreadable image, or its position in the split from that index."""
    return -2 - position


class SkippedSamples:
    """Images of a split that this process skipped, with reasons.

    Attributes:
        reasons: By name of the image.
    """

    def __init__(
        self, split: str, names: Sequence[str], read: Callable[[int], object], limit: float | None = _LIMIT
    ) -> None:
        """Start with none.

        Args:
            split: Name of the split.
            names: Of its images.
            read: Reads the image of a position, or raises `UserError`.
            limit: Largest fraction to skip; None: all, without warnings.
        """
        self._split, self._names, self._read, self._limit = split, names, read, limit
        self.reasons: dict[str, str] = {}

    def note(self, index: Tensor) -> None:
        """Record the skipped images among the indices `[N]` of a batch.

        Raises:
            UserError: If more images are skipped than the limit allows.
        """
        if not len(index) or int(index.min()) > -2:
            return
        for value in index.tolist():
            if value < -1 and self._names[lost(value)] not in self.reasons:
                self._add(lost(value))

    def _add(self, position: int) -> None:
        name, reason = self._names[position], "it could not be read for a while"
        try:
            self._read(position)
        except UserError as error:
            reason = error.sentence
        self.reasons[name] = reason
        if self._limit is None:
            return
        count, images = len(self.reasons), len(self._names)
        if count > max(1, self._limit * images):
            raise UserError(
                f"{count} of the {images} images of {self._split} cannot be read, too many for "
                f"--data.on_read_error skip; the last one: {reason}"
            )
        warnings.warn(f"vocseg: {name} is left out: {reason}", stacklevel=2)
