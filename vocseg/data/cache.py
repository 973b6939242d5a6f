"""Memory-mapped cache of decoded, resized images and masks."""

import ctypes
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

from vocseg.data import resize
from vocseg.data.image_io import Bytes, ImageMask
from vocseg.data.resize import ImageSize
from vocseg.data.splits import Split
from vocseg.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_GIB = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks up to 1 GiB instead of handing them back to the kernel.

    Every batch, and every activation on a CPU, is a large block that is freed and asked for again at once;
    getting it back from the kernel page by page costs as much as filling it. Elsewhere than on glibc nothing
    happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    mallopt(_M_MMAP_THRESHOLD, _GIB)
    mallopt(_M_TRIM_THRESHOLD, 2 * _GIB - 1)


IMAGES, MASKS, SHAPE, CHECKSUMS = "images.bin", "masks.bin", "shape.npy", "checksums.npy"

_FORMAT = 3


class MemmapCache:
    """Pairs by their row in the list. They are views of the files: copy them before changing anything.

    A pair is compared with its checksum when this process reads it for the first time. A damaged pair is
    decoded again from its files and written into the store.
    """

    def __init__(self, folder: Path, decode: Callable[[int], ImageMask] | None = None) -> None:
        """Map the files of a finished store into memory.

        Args:
            folder: As `store_folder` names it.
            decode: Gives the pair of a row from the data set's files; None: a damaged pair is an error.

        Raises:
            UserError: If its files are not those that were written together.
        """
        self.folder, self._decode = folder, decode
        self._map()

    def _map(self) -> None:
        shape = _read_shape(self.folder)  # [N,H,W]
        self._checksums = np.load(self.folder / CHECKSUMS)[:-1]
        self._verified = bytearray(shape[0])
        pixels = math.prod(shape)
        self._sizes = [(3 * pixels, IMAGES), (pixels, MASKS)]
        self._open = [(self.folder / name).open("rb") for _, name in self._sizes]
        self._check_length()
        self._images = _map(self.folder / IMAGES).reshape(*shape, 3)
        self._masks = _map(self.folder / MASKS).reshape(shape)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, row: int) -> ImageMask:
        """A pair in the store's size, without a copy.

        Raises:
            UserError: If the store was cut short, or the pair is damaged and cannot be decoded again.
        """
        self._check_length()
        self._verify((row,))
        return ImageMask(self._images[row], self._masks[row])

    def gather(self, rows: Sequence[int], images: Bytes, masks: Bytes) -> None:
        """Copy pairs into a batch, as fast as memory goes.

        Args:
            rows: Positions in the list.
            images: uint8 `[N,H,W,3]`, written to.
            masks: uint8 `[N,H,W]`, written to.

        Raises:
            UserError: As `__getitem__`.
        """
        self._check_length()
        self._verify(rows)
        # Without a mode, numpy would copy everything twice so as to undo it after an error.
        self._images.take(rows, 0, images, "clip")
        self._masks.take(rows, 0, masks, "clip")

    def _check_length(self) -> None:
        """Look, in a microsecond: reading beyond the end of a mapped file would kill the process."""
        for file, (size, name) in zip(self._open, self._sizes, strict=True):
            if os.fstat(file.fileno()).st_size < size:
                raise UserError(
                    f"the store's file {self.folder / name} was cut short: remove the folder and start "
                    "again, and it is packed anew"
                )

    def _verify(self, rows: Sequence[int]) -> None:
        """Compare pairs with their checksums, once in a process: 28 microseconds for a pair of 256x256."""
        for row in rows:
            if not self._verified[row]:
                if checksum(ImageMask(self._images[row], self._masks[row])) != self._checksums[row]:
                    self._repack(row)
                self._verified[row] = 1

    def _repack(self, row: int) -> None:
        """Write a damaged pair anew; the mapped arrays show it at once, in every process."""
        damaged = f"the store {self.folder} is damaged at image {row + 1}"
        remedy = "remove that folder, and it is packed anew"
        if self._decode is None:
            raise UserError(f"{damaged}: {remedy}")
        try:
            pair = self._decode(row)
        except UserError as fault:
            raise UserError(f"{damaged}, and its files cannot be read: {fault.sentence}") from fault
        if checksum(pair) != self._checksums[row]:
            raise UserError(f"{damaged}, and its files have changed since they were packed: {remedy}")
        try:
            for name, pixels in ((IMAGES, pair.image), (MASKS, pair.mask)):
                with (self.folder / name).open("r+b") as file:
                    file.seek(row * pixels.nbytes)
                    file.write(np.ascontiguousarray(pixels).data)
        except OSError as fault:
            raise UserError(f"{damaged}, and cannot be written to ({fault.strerror}): {remedy}") from fault
        print(f"{damaged}: it has been decoded again from its files and repacked", flush=True)

    def __getstate__(self) -> dict[str, Any]:
        """Without the files: other processes map them themselves, instead of getting a copy."""
        return {"folder": self.folder, "decode": self._decode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder, self._decode = state["folder"], state["decode"]
        self._map()


def checksum(pair: ImageMask) -> int:
    """64 bits over the bytes of a pair as a store keeps it."""
    image, mask = (np.ascontiguousarray(pixels).data for pixels in pair)
    return xxhash.xxh3_64_intdigest(image, xxhash.xxh3_64_intdigest(mask))


def write_shape(folder: Path, shape: tuple[int, int, int], checksums: Sequence[int]) -> None:
    """Finish a store.

    Args:
        folder: Holds its images and masks.
        shape: Number of pairs, height and width.
        checksums: Of each pair. One more is written after them, over shape and checksums together.
    """
    shaped, sums = np.array(shape, np.int64), np.array(checksums, np.uint64)
    sums = np.append(sums, _sum_of(shaped, sums))
    for name, values in ((SHAPE, shaped), (CHECKSUMS, sums)):
        with (folder / name).open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())


def _sum_of(shape: npt.NDArray[np.int64], sums: npt.NDArray[np.uint64]) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(shape.tobytes() + sums.tobytes()))


def is_whole(folder: Path) -> bool:
    """Whether a store's files are those that were written together, but for the pairs' bytes."""
    try:
        _read_shape(folder)
    except UserError:
        return False
    return True


def _read_shape(folder: Path) -> tuple[int, int, int]:
    """How many pairs there are, and the height and width of all."""
    try:
        shape = np.load(folder / SHAPE, mmap_mode="r")  # mapped, a header cannot ask for memory
        whole = shape.dtype == np.int64 and shape.shape == (3,) and shape.min() > 0
        count, height, width = map(int, shape) if whole else (0, 0, 0)
        sums = np.load(folder / CHECKSUMS, mmap_mode="r")
        whole &= (
            sums.dtype == np.uint64 and sums.shape == (count + 1,) and sums[-1] == _sum_of(shape, sums[:-1])
        )
        sizes = [(folder / name).stat().st_size for name in (IMAGES, MASKS)]
        if whole and sizes == [3 * count * height * width, count * height * width]:
            return count, height, width
    except Exception:  # numpy raises nearly anything on damaged bytes
        whole = False
    raise UserError(f"the store {folder} is damaged: remove that folder, and it is packed anew")


def _map(path: Path) -> Bytes:
    mapped: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    return np.asarray(mapped)


def store_folder(cache: Path, split: Split, form: ImageSize, fingerprint: str) -> Path:
    """Where the store of a split lies, if there is one.

    The name has everything in it that the bytes depend on; a store is renamed to it when it is whole.

    Args:
        cache: See `cache_folder`.
        split: The whole list.
        form: The size of the pairs.
        fingerprint: Of the list.
    """
    made_by = _digest([_FORMAT, resize.VERSION, cv2.__version__, PIL.__version__, torch.__version__])
    return cache / "stores" / f"{_prefix(split, form)}-{fingerprint}-{made_by[:6]}"


def _prefix(split: Split, form: ImageSize) -> str:
    """What two stores have in common that cannot both be up to date."""
    layout, classes = split.layout, split.classes
    places = [layout.image_folder, layout.image_suffix, layout.mask_folder, layout.mask_suffix]
    colours = [each.tolist() for each in classes.by_colour] if classes.coloured else []
    variant = _digest([classes.table.tolist(), *places, *colours])
    return f"{split.name}-{form.size}-{variant[:6]}"


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def drop_stale(folder: Path, split: Split, form: ImageSize) -> None:
    """Remove the stores of the same list and size whose files are no longer what they were.

    A process that still reads one keeps its bytes: they go when it closes them.
    """
    fresh = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{_prefix(split, form)}-*"):
        if not other.name.startswith(fresh):
            shutil.rmtree(other, ignore_errors=True)
