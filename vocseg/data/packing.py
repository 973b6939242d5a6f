"""Packs a split into a store: once, by one process, whole or not at all."""

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from vocseg.data.contents import write_contents
from vocseg.data.memory import keep_freed_memory
from vocseg.data.pairs import PairReader, in_threads, known_fingerprint
from vocseg.data.progress import follow
from vocseg.data.reading import Pair
from vocseg.data.resizing import Form
from vocseg.data.splits import Split
from vocseg.data.store import IMAGES, MASKS, checksum, drop_stale, is_whole, store_folder, write_shape
from vocseg.errors import UserError

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_SPARE = 64 << 20  # bytes to leave free on the disk


def find_store(split: Split, form: Form, cache: Path) -> Path | None:
    """The folder of the whole list's store, if there is one and no file has changed since.

    Args:
        split: The whole list.
        form: The size of the pairs.
        cache: See `cache_folder`.
    """
    fingerprint = known_fingerprint(split, cache)
    folder = None if fingerprint is None else store_folder(cache, split, form, fingerprint)
    return folder if folder is not None and folder.is_dir() else None


def pack(split: Split, form: Form, cache: Path, must: bool = False, progress: bool = True) -> Path | None:
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
                "decoded every epoch instead (--data.cache names another folder)",
                flush=True,
            )
            return None
        raise UserError(
            f"the store of '{split.name}' cannot be written to {cache} ({fault.strerror}): make room or name "
            "another folder with --data.cache, or go without with --data.store false"
        ) from fault


def _pack(split: Split, form: Form, cache: Path, must: bool, progress: bool) -> Path | None:
    reader = PairReader(split, cache)
    reader.check_presence()
    needed, free = _needed(split, form), shutil.disk_usage(cache).free
    if needed + _SPARE > free:
        room = f"the store of '{split.name}' needs {_bytes(needed)} in {cache}, but {_bytes(free)} are free"
        if must:
            raise UserError(f"{room}: make room, or name another folder with --data.cache")
        print(
            f"{room}; files are decoded every epoch instead (--data.cache names another folder)", flush=True
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


def _write(reader: PairReader, form: Form, part: Path, progress: bool) -> None:
    """Decode on all cores, write in order."""
    translate = None if reader.split.classes.as_stored else reader.split.classes.table

    def work(index: int) -> tuple[Pair, int]:
        image, mask = form(reader[index])
        pair = Pair(image, mask if translate is None else translate[mask])
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


def _needed(split: Split, form: Form) -> int:
    """Bytes of a store: three a pixel for the image, one for the mask."""
    return 4 * form.size**2 * len(split)


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
