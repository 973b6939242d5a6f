"""Memory-mapped cache of decoded, resized images and masks."""

import ctypes
import errno
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL
import torch
import xxhash
from filelock import FileLock

from vocseg.data.fingerprint import write_contents
from vocseg.data.image_io import RESIZE_VERSION, Bytes, ImageMask, ImageSize
from vocseg.data.raw_reader import DecodedFiles, ImageMaskReader, known_fingerprint
from vocseg.data.splits import Split
from vocseg.errors import UserError
from vocseg.utils.progress import follow, in_threads

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_GIB = 1 << 30

IMAGES, MASKS, SHAPE, CHECKSUMS = "images.bin", "masks.bin", "shape.npy", "checksums.npy"

_FORMAT = 3
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_SPARE = 64 << 20  # bytes to leave free on the disk
FILES_INSTEAD = "files are decoded every epoch instead"
_OTHER_FOLDER = f"{FILES_INSTEAD} (--data.cache_dir sets another folder)"
_REMEDY = "remove that folder, and it is rebuilt"


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

    def __init__(self, folder: Path, decode: Callable[[int], ImageMask] | None = None) -> None:
        """Map the files of a finished cache into memory.

        Args:
            folder: Of the cache.
            decode: Returns the pair of a row from the data set's files. None: a damaged pair is an error.

        Raises:
            UserError: If its files do not belong together.
        """
        self.folder, self._decode = folder, decode
        shape = read_shape(folder)  # [N,H,W]
        if shape is None:
            raise UserError(f"the cache {folder} is damaged: {_REMEDY}")
        self._checksums = np.load(folder / CHECKSUMS)[:-1]
        self._verified = bytearray(shape[0])
        pixels = math.prod(shape)
        self._sizes = [(3 * pixels, IMAGES), (pixels, MASKS)]
        self._open = [(folder / name).open("rb") for _, name in self._sizes]
        self._check_length()
        self._images = np.asarray(np.memmap(folder / IMAGES, np.uint8, "r")).reshape(*shape, 3)
        self._masks = np.asarray(np.memmap(folder / MASKS, np.uint8, "r")).reshape(shape)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, row: int) -> ImageMask:
        """Return a pair without a copy.

        Raises:
            UserError: If a file was truncated, or the pair is damaged and cannot be decoded again.
        """
        self._check_length()
        self._verify((row,))
        return ImageMask(self._images[row], self._masks[row])

    def gather(self, rows: Sequence[int], images: Bytes, masks: Bytes) -> None:
        """Copy pairs into `images` `[N,H,W,3]` and `masks` `[N,H,W]`; errors as of `__getitem__`."""
        self._check_length()
        self._verify(rows)
        # Without a mode, numpy would copy everything twice so as to undo it after an error.
        self._images.take(rows, 0, images, "clip")
        self._masks.take(rows, 0, masks, "clip")

    def _check_length(self) -> None:
        # Takes a microsecond. Reading beyond the end of a mapped file kills the process.
        for file, (size, name) in zip(self._open, self._sizes, strict=True):
            if os.fstat(file.fileno()).st_size < size:
                raise UserError(
                    f"the cache file {self.folder / name} was truncated: remove the folder and start again, "
                    "and it is rebuilt"
                )

    def _verify(self, rows: Sequence[int]) -> None:
        for row in rows:
            if not self._verified[row]:  # 28 microseconds for a pair of 256x256, once per process
                if checksum(ImageMask(self._images[row], self._masks[row])) != self._checksums[row]:
                    self._repair(row)
                self._verified[row] = 1

    def _repair(self, row: int) -> None:
        """Rewrite a damaged pair; the mapped arrays of every process change with the file."""
        damaged = f"the cache {self.folder} is damaged at image {row + 1}"
        if self._decode is None:
            raise UserError(f"{damaged}: {_REMEDY}")
        try:
            pair = self._decode(row)
        except UserError as error:
            raise UserError(f"{damaged}, and its files cannot be read: {error.sentence}") from error
        if checksum(pair) != self._checksums[row]:
            raise UserError(f"{damaged}, and its files have changed since it was built: {_REMEDY}")
        try:
            for name, pixels in ((IMAGES, pair.image), (MASKS, pair.mask)):
                with (self.folder / name).open("r+b") as file:
                    file.seek(row * pixels.nbytes)
                    file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            raise UserError(f"{damaged}, and cannot be written to ({error.strerror}): {_REMEDY}") from error
        print(f"{damaged}: repaired from the image's files", flush=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what other processes need to map the files themselves."""
        return {"folder": self.folder, "decode": self._decode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        MemmapCache.__init__(self, state["folder"], state["decode"])


def checksum(pair: ImageMask) -> int:
    """Return 64 bits over the bytes of a pair as cached."""
    image, mask = (np.ascontiguousarray(pixels).data for pixels in pair)
    return xxhash.xxh3_64_intdigest(image, xxhash.xxh3_64_intdigest(mask))


def write_shape(folder: Path, shape: tuple[int, int, int], checksums: Sequence[int]) -> None:
    """Write shape `[N,H,W]` and checksums `[N]` of a cache, and one more checksum over both."""
    sizes, sums = np.array(shape, np.int64), np.array(checksums, np.uint64)
    sums = np.append(sums, _sum_of(sizes, sums))
    for name, values in ((SHAPE, sizes), (CHECKSUMS, sums)):
        with (folder / name).open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())


def _sum_of(shape: npt.NDArray[np.int64], sums: npt.NDArray[np.uint64]) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(shape.tobytes() + sums.tobytes()))


def read_shape(folder: Path) -> tuple[int, int, int] | None:
    """Return number of pairs, height and width of a cache; None if its files do not belong together."""
    try:
        shape = np.load(folder / SHAPE, mmap_mode="r")  # mapped, a header cannot ask for memory
        valid = shape.dtype == np.int64 and shape.shape == (3,) and shape.min() > 0
        count, height, width = map(int, shape) if valid else (0, 0, 0)
        sums = np.load(folder / CHECKSUMS, mmap_mode="r")
        valid &= (
            sums.dtype == np.uint64 and sums.shape == (count + 1,) and sums[-1] == _sum_of(shape, sums[:-1])
        )
        sizes = [(folder / name).stat().st_size for name in (IMAGES, MASKS)]
        if valid and sizes == [3 * count * height * width, count * height * width]:
            return count, height, width
    except Exception:  # numpy raises nearly anything on damaged bytes
        return None
    return None


def split_cache_folder(cache: Path, split: Split, form: ImageSize, fingerprint: str) -> Path:
    """Return the folder of a split's cache, which may not exist.

    `cache` is a `cache_folder`, `split` a complete list. The name depends on everything that the bytes depend
    on. A finished cache is renamed to it.
    """
    made_by = _digest([_FORMAT, RESIZE_VERSION, cv2.__version__, PIL.__version__, torch.__version__])
    return cache / "stores" / f"{_prefix(split, form)}-{fingerprint}-{made_by[:6]}"


def _prefix(split: Split, form: ImageSize) -> str:
    """Beginning of the name, common to caches of which one at most is up to date."""
    layout, classes = split.layout, split.classes
    places = [layout.image_folder, layout.image_suffix, layout.mask_folder, layout.mask_suffix]
    colours = [each.tolist() for each in classes.by_colour] if classes.coloured else []
    variant = _digest([classes.table.tolist(), *places, *colours])
    return f"{split.name}-{form.size}-{variant[:6]}"


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def remove_stale(folder: Path, split: Split, form: ImageSize) -> None:
    """Remove the caches of the same list and size with another fingerprint than `folder`'s."""
    # A process that still reads one keeps its bytes: they go when it closes them.
    fresh = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{_prefix(split, form)}-*"):
        if not other.name.startswith(fresh):
            shutil.rmtree(other, ignore_errors=True)


def find_cache(split: Split, form: ImageSize, cache: Path) -> Path | None:
    """Return the folder of a complete list's cache; None if it is missing or a file has changed since."""
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
