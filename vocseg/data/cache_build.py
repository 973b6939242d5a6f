"""Construction of the cache, and the choice between cache and files."""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from vocseg.data.cache import (
    IMAGES,
    MASKS,
    MemmapCache,
    checksum,
    keep_freed_memory,
    read_shape,
    remove_stale,
    split_cache_folder,
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
_INSTEAD = "files are decoded every epoch instead"
_OTHER_FOLDER = f"{_INSTEAD} (--data.cache_dir sets another folder)"


def find_cache(split: Split, form: ImageSize, cache: Path) -> Path | None:
    """Return the folder of a complete list's cache; None if there is none or a file has changed since."""
    fingerprint = known_fingerprint(split, cache)
    folder = None if fingerprint is None else split_cache_folder(cache, split, form, fingerprint)
    return folder if folder is not None and folder.is_dir() else None


def build_cache(
    split: Split, form: ImageSize, cache: Path, required: bool = False, progress: bool = True
) -> Path | None:
    """Build the cache of a list, unless it exists. Only one of several processes does it.

    Every file is read and checked, and its content recorded for the fingerprint.

    Args:
        split: The complete list.
        form: The size of the pairs.
        cache: See `cache_folder`.
        required: Raise if there is no room or `cache` is read-only, instead of returning None.
        progress: Show a progress bar.

    Raises:
        UserError: If a file is wrong, the disk is full, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        keep_freed_memory()
        with FileLock(cache / ".packing.lock"):
            found = find_cache(split, form, cache)
            if found is not None and read_shape(found) is None:
                print(f"the cache {found} is damaged: it is rebuilt", flush=True)
                shutil.rmtree(found)
                found = None
            return found if found is not None else _build(split, form, cache, required, progress)
    except OSError as error:
        if error.errno in _FORBIDDEN and not required:
            print(
                f"no cache of '{split.name}': {cache} cannot be written ({error.strerror}); {_OTHER_FOLDER}",
                flush=True,
            )
            return None
        raise UserError(
            f"the cache of '{split.name}' cannot be written to {cache} ({error.strerror}): make room or give "
            "another folder with --data.cache_dir, or switch it off with --data.cache false"
        ) from error


def _build(split: Split, form: ImageSize, cache: Path, required: bool, progress: bool) -> Path | None:
    reader = ImageMaskReader(split, cache)
    reader.check_presence()
    needed, free = 4 * form.size**2 * len(split), shutil.disk_usage(cache).free  # bytes: RGB and mask
    if needed + _SPARE > free:
        room = f"the cache of '{split.name}' needs {_bytes(needed)} in {cache}, but {_bytes(free)} are free"
        if required:
            raise UserError(f"{room}: make room, or give another folder with --data.cache_dir")
        print(f"{room}; {_OTHER_FOLDER}", flush=True)
        return None
    print(
        f"caching '{split.name}' once: {len(split):,} images at {form}, {_bytes(needed)} in {cache}",
        flush=True,
    )
    part = cache / "stores" / f".{split.name}.part"  # written by the holder of the lock only
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(reader, form, part, progress)
        write_contents(cache, reader.seen)
        fingerprint = known_fingerprint(split, cache)
        if fingerprint is None:
            raise UserError(f"files of {split.layout.folder} changed while they were read: start again")
        folder = split_cache_folder(cache, split, form, fingerprint)
        if not folder.is_dir():  # else files were touched, but have the same content
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    remove_stale(folder, split, form)
    return folder


def _write(reader: ImageMaskReader, form: ImageSize, part: Path, progress: bool) -> None:
    """Decode on all cores, write in order."""
    decoded = DecodedFiles(reader, form)

    def work(index: int) -> tuple[ImageMask, int]:
        pair = decoded[index]
        return pair, checksum(pair)

    checksums = []
    with (part / IMAGES).open("wb") as images, (part / MASKS).open("wb") as masks:
        pairs = in_threads(work, range(len(reader)))
        for pair, its_checksum in follow(pairs, f"caching {reader.split.name}", len(reader), progress):
            images.write(np.ascontiguousarray(pair.image).data)
            masks.write(np.ascontiguousarray(pair.mask).data)
            checksums.append(its_checksum)
        for file in (images, masks):  # on the disk before the folder gets its final name
            file.flush()
            os.fsync(file.fileno())
    write_shape(part, (len(reader), *form.shape), checksums)


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


@dataclass(frozen=True)
class CachePolicy:
    """Use of the cache.

    Attributes:
        store: True: the cache is required; False: no cache; None: a cache if there is room.
        cache: Folder for caches and file records; None: see `cache_folder`.
        check: Without a cache, read every file once before the run starts.
        skip: Continue without images that cannot be read.
    """

    store: bool | None
    cache: Path | None
    check: bool
    skip: bool = False

    def prepare(self, split: Split, form: ImageSize) -> None:
        """Build the cache of the split, or else check its files: either reads every file."""
        cache = self.folder(split)
        if self.store is not False and self._build(split, form, cache):
            return
        if self.check:
            reader = ImageMaskReader(split, cache)
            reader.check(skip=self.skip)
            with contextlib.suppress(OSError):  # a folder that cannot be written costs a second reading
                write_contents(cache, reader.seen)

    def open(self, split: Split, form: ImageSize) -> MemmapCache | DecodedFiles:
        """Open what `prepare` made; a cache holds the complete list of the split."""
        cache, complete = self.folder(split), split.whole()
        folder = None if self.store is False else find_cache(complete, form, cache)
        if folder is not None:
            return MemmapCache(folder, partial(_decode, complete, form, cache))
        return DecodedFiles(ImageMaskReader(split, cache, read_contents(cache) if self.check else None), form)

    def _build(self, split: Split, form: ImageSize, cache: Path) -> bool:
        """Build the cache if possible; a cache cannot skip images."""
        try:
            return build_cache(split.whole(), form, cache, required=self.store is True) is not None
        except UserError as error:
            if not self.skip or self.store is True:
                raise
            print(f"{error.sentence}; {_INSTEAD} (--data.on_read_error skip)", flush=True)
            return False

    def fingerprint(self, split: Split) -> str:
        """Return the fingerprint over ids and decoded content; over ids (`ids-...`) if files are unread."""
        known = known_fingerprint(split, self.folder(split))
        return known or "ids-" + fingerprint(split.ids, [("", "")] * len(split))[:12]

    def folder(self, split: Split) -> Path:
        """Return the folder for files derived from the split's data set."""
        return cache_folder(split.layout.folder, self.cache)


def _decode(split: Split, form: ImageSize, cache: Path, row: int) -> ImageMask:
    return DecodedFiles(ImageMaskReader(split, cache), form)[row]
