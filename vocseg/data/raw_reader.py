"""Image and mask pairs read from their files."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from torch.utils.data import get_worker_info

from vocseg.data.fingerprint import (
    Contents,
    FileContent,
    bytes_digest,
    fingerprint,
    read_contents,
    read_manifest,
)
from vocseg.data.image_io import (
    Bytes,
    ImageMask,
    decode_image,
    decode_mask_image,
    mask_values,
    read_bytes,
    resize_pair,
)
from vocseg.data.splits import Split
from vocseg.errors import UserError
from vocseg.utils.progress import follow, in_threads


class ImageMaskReader:
    """Pairs by position, decoded and resized on each access, masks as class indices. Thread-safe.

    Attributes:
        split: The pairs.
        seen: Records of the files read.
    """

    def __init__(self, split: Split, cache: Path, size: int, known: Contents | None = None) -> None:
        """Read the manifest in the `cache_folder` if any; a file that differs from `known` is an error."""
        self.split, self._size, self._known = split, size, known or {}
        self.seen: Contents = {}
        self._manifest = read_manifest(cache)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> ImageMask:
        """Return a pair; errors as of `read`."""
        image, mask = resize_pair(self.read(index), self._size)
        return ImageMask(image, self.split.classes.to_indices(mask))

    def several(self, indices: Sequence[int]) -> list[ImageMask]:
        """Return pairs decoded in parallel, except in a DataLoader worker; errors as of `read`."""
        if get_worker_info() is not None:
            return [self[index] for index in indices]
        return list(_threads().map(self.__getitem__, indices))

    def read(self, index: int) -> ImageMask:
        """Read a pair as it is in the files.

        Raises:
            UserError: If a file is missing, damaged, wrong, or has changed since the audit or the start.
        """
        image_path, mask_path = self.split.paths(index)
        classes = self.split.classes

        def decode_mask(data: bytes, path: Path) -> tuple[Bytes, Bytes]:
            pixels = decode_mask_image(data, path, classes)
            return pixels, mask_values(pixels, path, classes)

        image = self._read(image_path, "image", lambda data, path: (decode_image(data, path),) * 2)
        mask = self._read(mask_path, "mask", decode_mask)
        if image.shape[:2] != mask.shape:
            raise UserError(
                f"the mask {mask_path} is {mask.shape[1]}x{mask.shape[0]} pixels, but its image {image_path} "
                f"is {image.shape[1]}x{image.shape[0]}: they must be of one size"
            )
        return ImageMask(image, mask)

    def _read(self, path: Path, kind: str, decode: Callable[[bytes, Path], tuple[Bytes, Bytes]]) -> Bytes:
        name = self.split.layout.name(path)
        data, status = read_bytes(path, kind)
        digest = bytes_digest(data)
        if self._manifest.get(name, digest) != digest:
            raise UserError(
                f"{path} has changed since the audit: restore it, or accept it by running "
                "`python -m vocseg audit` again"
            )
        pixels, values = decode(data, path)
        if name in self._known and self._known[name].raw != digest:
            raise UserError(
                f"the {kind} {path} has changed since the run started: restore it, or start again"
            )
        self.seen[name] = FileContent.of(status, data, pixels, mask=kind == "mask")
        return values

    def check_presence(self) -> None:
        """Raise `UserError` if a file does not exist."""
        missing = [path for k in range(len(self)) for path in self.split.paths(k) if not path.is_file()]
        if missing:
            more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
            raise UserError(
                f"{missing[0]}{more} is missing: restore it, or remove its id from the split list"
            )

    def check(self, progress: bool = True) -> None:
        """Read every file once; raises `UserError` for the first that cannot be read."""
        self.check_presence()
        pairs = in_threads(self.read, range(len(self)))
        for _ in follow(pairs, "checking the data", len(self), progress):
            pass


def known_fingerprint(split: Split, cache: Path) -> str | None:
    """Return the fingerprint of a split from earlier records; None if a file has none or may have changed."""
    contents, pixels = read_contents(cache), []
    for k in range(len(split)):
        for path in split.paths(k):
            known = contents.get(split.layout.name(path))
            if known is None or not path.is_file() or not known.is_of(path.stat()):
                return None
            pixels.append(known.pixels)
    return fingerprint(split.ids, zip(pixels[::2], pixels[1::2], strict=True))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="decode")
