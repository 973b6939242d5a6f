"""Memory-mapped cache of decoded, resized images and masks."""

import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
import xxhash
from filelock import FileLock

from vocseg.data.fingerprint import write_contents
from vocseg.data.image_io import RESIZE_VERSION, Bytes, ImageMask
from vocseg.data.raw_reader import ImageMaskReader, known_fingerprint
from vocseg.data.splits import Split
from vocseg.errors import UserError
from vocseg.utils.progress import follow, in_threads

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_GIB = 1 << 30

_IMAGES, _MASKS, _CHECKSUMS = "images.bin", "masks.bin", "checksums.bin"

_FORMAT = 4
_SPARE = 64 << 20  # bytes to leave free on the disk
_NO_CACHE = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS)  # reasons to do without one
FILES_INSTEAD = "files are decoded every epoch instead"


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks up to 1 GiB instead of returning them to the kernel; else do nothing."""
    # Every batch and every activation on a CPU is a large block that is freed and allocated again at once.
    # Getting it back from the kernel page by page costs as much as filling it.
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    mallopt(_M_MMAP_THRESHOLD, _GIB)
    mallopt(_M_TRIM_THRESHOLD, 2 * _GIB - 1)


class MemmapCache:
    """Pairs of image and mask by row of the split's list, as read-only views of the files.

    A pair is compared with its checksum when this process reads it for the first time. A damaged pair is
    decoded again from its files and written into the cache.
    """

    def __init__(self, folder: Path, pairs: int, size: int, decode: Callable[[int], ImageMask]) -> None:
        """Map the files of a finished cache of `pairs` of `size` pixels each way into memory.

        `decode` returns the pair of a row from the data set's files.

        Raises:
            OSError: If a file cannot be read.
            ValueError: If a file is too short.
        """
        self.folder, self._decode = folder, decode
        shape = pairs, size, size
        self._images = np.asarray(np.memmap(folder / _IMAGES, np.uint8, "r", shape=(*shape, 3)))
        self._masks = np.asarray(np.memmap(folder / _MASKS, np.uint8, "r", shape=shape))
        self._checksums = np.asarray(np.memmap(folder / _CHECKSUMS, np.uint64, "r", shape=pairs))
        self._verified = bytearray(pairs)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, row: int) -> ImageMask:
        """Return a pair without a copy.

        Raises:
            UserError: If the pair is damaged and cannot be decoded again.
        """
        self._verify((row,))
        return ImageMask(self._images[row], self._masks[row])

    def gather(self, rows: Sequence[int], images: Bytes, masks: Bytes) -> None:
        """Copy pairs into `images` `[N,H,W,3]` and `masks` `[N,H,W]`; errors as of `__getitem__`."""
        self._verify(rows)
        # Without a mode, numpy would copy everything twice so as to undo it after an error.
        self._images.take(rows, 0, images, "clip")
        self._masks.take(rows, 0, masks, "clip")

    def _verify(self, rows: Sequence[int]) -> None:
        for row in rows:
            if not self._verified[row]:  # 28 microseconds for a pair of 256x256, once per process
                if _checksum(ImageMask(self._images[row], self._masks[row])) != self._checksums[row]:
                    self._repair(row)
                self._verified[row] = 1

    def _repair(self, row: int) -> None:
        """Rewrite a damaged pair; the mapped arrays of every process change with the file."""
        damaged = f"the cache {self.folder} is damaged at image {row + 1}"
        try:
            pair = self._decode(row)
            if _checksum(pair) != self._checksums[row]:
                raise UserError("its files have changed since it was built")
            for name, pixels in ((_IMAGES, pair.image), (_MASKS, pair.mask)):
                with (self.folder / name).open("r+b") as file:
                    file.seek(row * pixels.nbytes)
                    file.write(np.ascontiguousarray(pixels).data)
        except (OSError, UserError) as error:
            raise UserError(
                f"{damaged} and cannot be repaired ({error}): remove that folder, and it is rebuilt"
            ) from error
        print(f"{damaged}: repaired from the image's files", flush=True)

    def __reduce__(self) -> tuple[object, ...]:
        # Other processes map the files themselves.
        return MemmapCache, (self.folder, len(self), self._masks.shape[1], self._decode)


def _checksum(pair: ImageMask) -> int:
    image, mask = (np.ascontiguousarray(pixels).data for pixels in pair)
    return xxhash.xxh3_64_intdigest(image, xxhash.xxh3_64_intdigest(mask))


def _prefix(split: Split, size: int) -> str:
    """Beginning of a cache's folder name, with everything that its bytes depend on but the files."""
    layout, classes = split.layout, split.classes
    places = [layout.image_folder, layout.image_suffix, layout.mask_folder, layout.mask_suffix]
    colours = [each.tolist() for each in classes.by_colour] if classes.coloured else []
    made_by = [_FORMAT, RESIZE_VERSION, cv2.__version__, PIL.__version__, torch.__version__]
    variant = json.dumps([classes.table.tolist(), *places, *colours, *made_by])
    return f"{split.name}-{size}-{hashlib.sha256(variant.encode()).hexdigest()[:12]}"


def _folder(cache: Path, split: Split, size: int, fingerprint: str) -> Path:
    """The folder of a split's cache. A finished cache is renamed to it."""
    return cache / "stores" / f"{_prefix(split, size)}-{fingerprint}"


def find_cache(split: Split, size: int, cache: Path) -> Path | None:
    """Return the folder of a complete list's cache; None if it is missing or a file has changed since."""
    fingerprint = known_fingerprint(split, cache)
    folder = None if fingerprint is None else _folder(cache, split, size, fingerprint)
    return folder if folder is not None and folder.is_dir() else None


def build_cache(
    split: Split, size: int, cache: Path, required: bool = False, progress: bool = True
) -> Path | None:
    """Build the cache of a list, unless it exists. Only one of several processes does it.

    Every file is read and checked, and its content recorded for the fingerprint.

    Returns None if there is no room or `cache` is read-only, unless the cache is `required`.

    Raises:
        UserError: If a file is wrong, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        keep_freed_memory()
        with FileLock(cache / ".packing.lock"):
            found = find_cache(split, size, cache)
            if found is not None:
                try:
                    MemmapCache(found, len(split), size, ImageMaskReader(split, cache, size).__getitem__)
                    return found
                except (OSError, ValueError):
                    print(f"the cache {found} is damaged: it is rebuilt", flush=True)
                    shutil.rmtree(found)
            return _build(split, size, cache, progress)
    except OSError as error:
        failed = f"the cache of '{split.name}' cannot be written to {cache} ({error.strerror})"
        if required or error.errno not in _NO_CACHE:
            raise UserError(
                f"{failed}: make room or give another folder with --data.cache_dir, or switch it off with "
                "--data.cache false"
            ) from error
        print(f"{failed}; {FILES_INSTEAD} (--data.cache_dir sets another folder)", flush=True)
        return None


def _build(split: Split, size: int, cache: Path, progress: bool) -> Path:
    reader = ImageMaskReader(split, cache, size)
    reader.check_presence()
    needed, free = 4 * size**2 * len(split), shutil.disk_usage(cache).free  # bytes: RGB and mask
    if needed + _SPARE > free:
        raise OSError(errno.ENOSPC, f"it needs {needed / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are free")
    print(
        f"caching '{split.name}' once: {len(split):,} images at {size}x{size}, {needed / 1e6:,.0f} MB in "
        f"{cache}",
        flush=True,
    )
    part = cache / "stores" / f".{split.name}.part"  # written by the holder of the lock only
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(reader, part, progress)
        write_contents(cache, reader.seen)
        fingerprint = known_fingerprint(split, cache)
        if fingerprint is None:
            raise UserError(f"files of {split.layout.folder} changed while they were read: start again")
        folder = _folder(cache, split, size, fingerprint)
        if not folder.is_dir():  # else files were touched, but have the same content
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for stale in folder.parent.glob(f"{_prefix(split, size)}-*"):
        if stale != folder:  # a process that still reads one keeps its bytes until it closes them
            shutil.rmtree(stale, ignore_errors=True)
    return folder


def _write(reader: ImageMaskReader, part: Path, progress: bool) -> None:

    def work(index: int) -> tuple[ImageMask, int]:
        pair = reader[index]
        return pair, _checksum(pair)

    with (
        (part / _IMAGES).open("wb") as images,
        (part / _MASKS).open("wb") as masks,
        (part / _CHECKSUMS).open("wb") as checksums,
    ):
        pairs = in_threads(work, range(len(reader)))
        for pair, checksum in follow(pairs, f"caching {reader.split.name}", len(reader), progress):
            images.write(np.ascontiguousarray(pair.image).data)
            masks.write(np.ascontiguousarray(pair.mask).data)
            checksums.write(np.uint64(checksum).tobytes())
        for file in (images, masks, checksums):  # on the disk before the folder gets its final name
            file.flush()
            os.fsync(file.fileno())
