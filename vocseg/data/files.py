"""A split's pairs read from their files every time: what serves when there is no store."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from torch.utils.data import get_worker_info

from vocseg.data.pairs import PairReader
from vocseg.data.reading import Pair
from vocseg.data.resizing import Form
from vocseg.errors import UserError


class Files:
    """Pairs by position, decoded and resized when they are asked for."""

    def __init__(self, reader: PairReader, form: Form) -> None:
        """Remember where from.

        Args:
            reader: Of the split.
            form: The size of the pairs.
        """
        self._reader, self._form = reader, form

    def __getitem__(self, index: int) -> Pair:
        """A pair in that size, its mask translated to class indices.

        Raises:
            UserError: As `PairReader`.
        """
        image, mask = self._form(self._reader[index])
        classes = self._reader.split.classes
        return Pair(image, mask if classes.as_stored else classes.table[mask])

    def several(self, indices: Sequence[int], skip: bool = False) -> list[Pair | None]:
        """Pairs decoded side by side, unless this is one of several loader processes already.

        Args:
            indices: Which.
            skip: Give None for a pair that cannot be read.

        Raises:
            UserError: As `PairReader`, unless faults are skipped.
        """

        def read(index: int) -> Pair | None:
            try:
                return self[index]
            except UserError:
                if not skip:
                    raise
                return None

        if get_worker_info() is not None:
            return [read(index) for index in indices]
        return list(_threads().map(read, indices))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="decode")
