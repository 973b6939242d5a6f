"""Construction of the cache, and the choice between cache and files."""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from vocseg.data.cache import (
    IMAGES,
    MASKS,
    MemmapCache,
    checksum,
    drop_stale,
    is_whole,
    keep_freed_memory,
    store_folder,
    write_shape,
)
from vocseg.data.fingerprint import cache_folder, fingerprint, read_contents, write_contents
from vocseg.data.image_io import ImageMask
from vocseg.data.raw_reader import DecodedFiles, ImageMaskReader, in_threads, known_fingerprint
from vocseg.data.resize import ImageSize
from vocseg.data.splits import Split
from vocseg.errors import UserError
from vocseg.utils.progress import follow

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_SPARE = 64 << 20  # bytes to leave free on the disk


def find_store(split: Split, form: ImageSize, cache: Path) -> Path | None:
    """The folder of the whole list's store, if there is one and no file has changed since.

    Args:
        split: The whole list.
        form: The size of the pairs.
        cache: See `cache_folder`.
    """
    fingerprint = known_fingerprint(split, cache)
    folder = None if fingerprint is None else store_folder(cache, split, form, fingerprint)
    return folder if folder is not None and folder.is_dir() else None


def pack(
    split: Split, form: ImageSize, cache: Path, must: bool = False, progress: bool = True
) -> Path | None:
    """Make the store of a list, unless it is there. Several processes at once do it once.

    Every file is read and checked on the way, and its content noted down for the fingerprint.

    Args:
        split: The whole list.
        form: The size of the pairs.
        cache: See `cache_folder`.
        must: Refuse where there is no room or nothing may be written, instead of going on without.
        progress: Show a progress bar.

    Returns:
        The store's folder, or None if it does not fit.

    Raises:
        UserError: If a file is wrong, the disk is full, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        keep_freed_memory()
        with FileLock(cache / ".packing.lock"):
            found = find_store(split, form, cache)
            if found is not None and not is_whole(found):
                print(f"the store {found} is damaged: it is packed anew", flush=True)
                shutil.rmtree(found)
                found = None
            return found if found is not None else _pack(split, form, cache, must, progress)
    except OSError as fault:
        if fault.errno in _FORBIDDEN and not must:
            print(
                f"no store of '{split.name}': {cache} cannot be written ({fault.strerror}); files are "
                "decoded every epoch instead (--data.cache_dir names another folder)",
                flush=True,
            )
            return None
        raise UserError(
            f"the store of '{split.name}' cannot be written to {cache} ({fault.strerror}): make room or name "
            "another folder with --data.cache_dir, or go without with --data.cache false"
        ) from fault


def _pack(split: Split, form: ImageSize, cache: Path, must: bool, progress: bool) -> Path | None:
    reader = ImageMaskReader(split, cache)
    reader.check_presence()
    needed, free = _needed(split, form), shutil.disk_usage(cache).free
    if needed + _SPARE > free:
        room = f"the store of '{split.name}' needs {_bytes(needed)} in {cache}, but {_bytes(free)} are free"
        if must:
            raise UserError(f"{room}: make room, or name another folder with --data.cache_dir")
        print(
            f"{room}; files are decoded every epoch instead (--data.cache_dir names another folder)",
            flush=True,
        )
        return None
    print(
        f"packing '{split.name}' once: {len(split):,} images at {form}, {_bytes(needed)} in {cache}",
        flush=True,
    )
    part = cache / "stores" / f".{split.name}.part"  # the lock's holder is the only one at it
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(reader, form, part, progress)
        write_contents(cache, reader.seen)
        fingerprint = known_fingerprint(split, cache)
        if fingerprint is None:
            raise UserError(f"files of {split.layout.folder} changed while they were read: start again")
        folder = store_folder(cache, split, form, fingerprint)
        if not folder.is_dir():  # else files were touched, but hold what they held
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    drop_stale(folder, split, form)
    return folder


def _write(reader: ImageMaskReader, form: ImageSize, part: Path, progress: bool) -> None:
    """Decode on all cores, write in order."""
    translate = None if reader.split.classes.as_stored else reader.split.classes.table

    def work(index: int) -> tuple[ImageMask, int]:
        image, mask = form(reader[index])
        pair = ImageMask(image, mask if translate is None else translate[mask])
        return pair, checksum(pair)

    checksums = []
    with (part / IMAGES).open("wb") as images, (part / MASKS).open("wb") as masks:
        pairs = in_threads(work, range(len(reader)))
        bar = f"packing {reader.split.name}"
        for pair, its_checksum in follow(pairs, bar, len(reader), progress):
            images.write(np.ascontiguousarray(pair.image).data)
            masks.write(np.ascontiguousarray(pair.mask).data)
            checksums.append(its_checksum)
        _sync(images)
        _sync(masks)
    write_shape(part, (len(reader), *form.shape), checksums)


def _sync(file: BinaryIO) -> None:
    """To the disk, before the folder's name says that it is there."""
    file.flush()
    os.fsync(file.fileno())


def _needed(split: Split, form: ImageSize) -> int:
    """Bytes of a store: three a pixel for the image, one for the mask."""
    return 4 * form.size**2 * len(split)


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


@dataclass(frozen=True)
class CachePolicy:
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

    def prepare(self, split: Split, form: ImageSize) -> None:
        """Pack the split, or else check it: either reads every file.

        Raises:
            UserError: If a file is wrong, or a store is a must and cannot be written.
        """
        cache = self.folder(split)
        if self.store is not False and self._pack(split, form, cache):
            return
        if self.check:
            reader = ImageMaskReader(split, cache)
            reader.check(skip=self.skip)
            with contextlib.suppress(OSError):  # a cache that cannot be written costs a second reading
                write_contents(cache, reader.seen)

    def open(self, split: Split, form: ImageSize) -> MemmapCache | DecodedFiles:
        """What `prepare` has made ready; a store holds the whole list."""
        cache = self.folder(split)
        folder = None if self.store is False else find_store(split.whole(), form, cache)
        if folder is not None:
            return MemmapCache(folder, partial(_decode, split.whole(), form, cache))
        return DecodedFiles(ImageMaskReader(split, cache, read_contents(cache) if self.check else None), form)

    def _pack(self, split: Split, form: ImageSize, cache: Path) -> bool:
        """Whether there is a store now; one with holes is none."""
        try:
            return pack(split.whole(), form, cache, must=self.store is True) is not None
        except UserError as fault:
            if not self.skip or self.store is True:
                raise
            print(
                f"{fault.sentence}; files are decoded every epoch instead (--data.on_read_error skip)",
                flush=True,
            )
            return False

    def fingerprint(self, split: Split) -> str:
        """Over ids and decoded content; `ids-...` over the ids alone if the files have not been read."""
        known = known_fingerprint(split, self.folder(split))
        return known or "ids-" + fingerprint(split.ids, [("", "")] * len(split))[:12]

    def folder(self, split: Split) -> Path:
        """For what is derived from the data set of a split."""
        return cache_folder(split.layout.folder, self.cache)


def _decode(split: Split, form: ImageSize, cache: Path, row: int) -> ImageMask:
    """The pair of a row from its files, as a store keeps it."""
    return DecodedFiles(ImageMaskReader(split, cache), form)[row]
