"""Where a split's pairs come from during a run: a store of decoded bytes, or their files."""

import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vocseg.data.contents import cache_folder, fingerprint, read_contents, write_contents
from vocseg.data.files import Files
from vocseg.data.packing import find_store, pack
from vocseg.data.pairs import PairReader, known_fingerprint
from vocseg.data.reading import Pair
from vocseg.data.resizing import Form
from vocseg.data.splits import Split
from vocseg.data.store import Store
from vocseg.errors import UserError


@dataclass(frozen=True)
class Storage:
    """The user's choice.

    Attributes:
        store: True: pack, or refuse if there is no room; False: never; None: where there is room.
        cache: Folder for stores and what is known of files; None: see `cache_folder`.
        check: Without a store, read every file once before the run starts.
        skip: Go on without images that cannot be read.
    """

    store: bool | None
    cache: Path | None
    check: bool
    skip: bool = False

    def prepare(self, split: Split, form: Form) -> None:
        """Pack the split, or else check it: either reads every file.

        Raises:
            UserError: If a file is wrong, or a store is a must and cannot be written.
        """
        cache = self.folder(split)
        if self.store is not False and self._pack(split, form, cache):
            return
        if self.check:
            reader = PairReader(split, cache)
            reader.check(skip=self.skip)
            with contextlib.suppress(OSError):  # a cache that cannot be written costs a second reading
                write_contents(cache, reader.seen)

    def open(self, split: Split, form: Form) -> Store | Files:
        """What `prepare` has made ready; a store holds the whole list."""
        cache = self.folder(split)
        folder = None if self.store is False else find_store(split.whole(), form, cache)
        if folder is not None:
            return Store(folder, partial(_decode, split.whole(), form, cache))
        return Files(PairReader(split, cache, read_contents(cache) if self.check else None), form)

    def _pack(self, split: Split, form: Form, cache: Path) -> bool:
        """Whether there is a store now; one with holes is none."""
        try:
            return pack(split.whole(), form, cache, must=self.store is True) is not None
        except UserError as fault:
            if not self.skip or self.store is True:
                raise
            print(
                f"{fault.sentence}; files are decoded every epoch instead (--data.on_error skip)", flush=True
            )
            return False

    def fingerprint(self, split: Split) -> str:
        """Over ids and decoded content; `ids-...` over the ids alone if the files have not been read."""
        known = known_fingerprint(split, self.folder(split))
        return known or "ids-" + fingerprint(split.ids, [("", "")] * len(split))[:12]

    def folder(self, split: Split) -> Path:
        """For what is derived from the data set of a split."""
        return cache_folder(split.layout.folder, self.cache)


def _decode(split: Split, form: Form, cache: Path, row: int) -> Pair:
    """The pair of a row from its files, as a store keeps it."""
    return Files(PairReader(split, cache), form)[row]
