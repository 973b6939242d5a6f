"""Dataset of images without masks."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocseg import constants
from vocseg.data.dataloader import Sample
from vocseg.data.image_io import Bytes, read_image, resize_image
from vocseg.data.samplers import SampleIndex, as_draw
from vocseg.errors import UserError, printable, some
from vocseg.utils.regular_file import read_regular

_IMAGES = {
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),
}
_VIDEOS = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"}
_VIDEO = "a video: predict it alone, with --data.predict_dir {}"
_LIST, _LIST_BYTES = ".txt", 1 << 26  # text file with a path on each line
_RESULTS = ("masks", "overlays", "confidence")  # folders that `predict` writes, the first two always
_RUNS = "lightning_logs"
_LISTED = 3  # files in an error message
_MOST_KEPT = 1 << 29  # bytes of the images that wait for `full_image`


class ImageFolderDataset(Dataset[Sample]):
    """The images of a folder and its sub-folders, a pattern or a text file (or one image), with masks of 255.

    Attributes:
        files: The images, sorted by path.
        keep: Whether images of batches wait in memory for `full_image`.
        threads: Threads of `TimedDataLoader` that decode. Decoders do not hold Python's lock.
        names: Unique names of their results: the path below the folder (of several paths: below the folder
            that they share) without its ending.
        other_files: Reason why a path below the folder is not an image.
        left_out: Images that cannot be read, with reasons.
    """

    threads = min(8, os.cpu_count() or 1)

    def __init__(self, source: Path, size: int) -> None:
        """List the images, to resize them to `size` pixels each way.

        Args:
            source: A folder, an image, a pattern such as `photos/**/*.jpg`, or a text file with a path on
                each line (`list.txt` or `@list.txt`).
            size: Side length in pixels.

        Raises:
            UserError: If there is no image.
        """
        self.source, self._size, self.keep = source, size, False
        self._root = source if os.path.isdir(source) else source.parent
        self._kept: dict[int, Bytes] = {}
        self.files: list[Path] = []
        self.other_files: dict[str, str] = {}
        if os.path.isdir(source):
            self._list(source)
            self.files.sort()
        elif is_several(source):
            self._add(_paths(source))
        elif os.path.isfile(source) and not is_video(source):
            self.files = [source]
        if not self.files:
            raise UserError(f"nothing to predict: {self._reason()}")
        shown = [self.name_of(file) for file in self.files]
        stems = [Path(name).with_suffix("").as_posix() for name in shown]
        unique = len({stem.casefold() for stem in stems}) == len(stems)
        self.names = stems if unique else shown
        self.left_out: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: SampleIndex | SupportsIndex) -> Sample:
        """Read one image, in its EXIF orientation; the index of an unreadable one is below 0."""
        draw = as_draw(item, len(self))
        index = draw.index
        try:
            image = self._read(index)
        except UserError:
            image, index = np.zeros((self._size, self._size, 3), np.uint8), -2 - index
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),  # [H,W,3] -> [3,H,W]
            "mask": torch.full(image.shape[:2], constants.IGNORE_INDEX, dtype=torch.uint8),
            "index": -1 if draw.filler else index,
        }

    def full_image(self, index: int) -> Bytes:
        """Return an image at its original resolution, RGB uint8 `[H,W,3]`.

        An image that waits is handed out once. Every other one is read again.

        Raises:
            UserError: If it cannot be read.
        """
        image = self._kept.pop(index, None)
        return read_image(self.files[index], exif=True) if image is None else image

    def note_unreadable(self, index: Tensor) -> None:
        """Record why images among the indices `[N]` of a batch cannot be read."""
        # Through their index, -2 - position, DataLoader workers need no other channel to this process.
        for position in (-2 - value for value in index.tolist() if value < -1):
            name, reason = self.name_of(self.files[position]), "it could not be read for a while"
            try:
                self._read(position)
            except UserError as error:
                reason = error.sentence
            self.left_out[name] = reason

    def name_of(self, path: Path) -> str:
        """Return the path of a file below the folder, or below the folder that several paths share."""
        return Path(os.path.relpath(path, self._root)).as_posix()

    def _read(self, index: int) -> Bytes:
        image = read_image(self.files[index], exif=True)
        if self.keep and sum(each.nbytes for each in list(self._kept.values())) <= _MOST_KEPT:
            self._kept[index] = image
        return resize_image(image, (self._size, self._size))

    def _add(self, paths: Sequence[Path]) -> None:
        """Sort paths that were named one by one: any file but a video counts as an image."""
        if parents := [path.parent for path in paths if os.path.exists(path)]:
            self._root = Path(os.path.commonpath(parents))
        for path in paths:
            if os.path.isdir(path):
                self.other_files[f"{self.name_of(path)}/"] = "a folder: give it to --data.predict_dir"
            elif is_video(path):
                self.other_files[self.name_of(path)] = _VIDEO.format(path)
            else:
                self.files.append(path)

    def _list(self, folder: Path) -> None:
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            self.other_files[f"{self.name_of(folder)}/"] = f"cannot be listed ({error.strerror})"
            return
        results = _RESULTS if {*_RESULTS[:2]} <= {path.name for path in found} else ()
        for path in found:
            is_folder, suffix, reason = os.path.isdir(path), path.suffix.lower(), None
            if path.name.startswith("."):
                reason = "hidden"
            elif is_folder and path.is_symlink():  # which may form a cycle
                reason = "a link to a folder: give its target to --data.predict_dir"
            elif is_folder and path.name in (_RUNS, *results):
                reason = "results of vocseg"
            elif is_folder:
                self._list(path)
                continue
            elif is_video(path):
                reason = _VIDEO.format(path)
            elif suffix not in _IMAGES:
                reason = f"not an image by its ending ({suffix or 'none'})"
            if reason is None:
                self.files.append(path)
            else:
                self.other_files[f"{self.name_of(path)}{'/' * is_folder}"] = reason

    def _reason(self) -> str:
        source, takes = str(self.source), ", ".join(sorted(_IMAGES))
        if ":/" in source:  # a path turns the two slashes of a URL into one
            return (
                f"--data.predict_dir {source.replace(':/', '://')} is a URL, and URLs are not downloaded. "
                "Download the file and give its path."
            )
        reason = "holds no image" if os.path.exists(source) else "does not exist"
        if _is_pattern(self.source):
            reason = "has no match: no file matches this pattern"
        others = some([f"{name}: {why}" for name, why in self.other_files.items()], _LISTED)
        listed = f" ({printable(others)})" if others else ""
        return (
            f"--data.predict_dir {source} {reason}{listed}. Give a folder of images ({takes}), one image, a "
            "video, a pattern or a text file of paths."
        )


def is_video(path: Path) -> bool:
    """Return whether a path is a video's by its ending."""
    return path.suffix.lower() in _VIDEOS


def is_several(path: Path) -> bool:
    """Return whether a path stands for several images: a folder, a pattern or a text file of paths."""
    return os.path.isdir(path) or _is_pattern(path) or path.suffix.lower() == _LIST


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not os.path.exists(path)


def _paths(source: Path) -> list[Path]:
    """Paths that match a pattern, sorted, or those of a text file in its order; each once."""
    if _is_pattern(source):
        return [Path(os.path.abspath(path)) for path in sorted(glob.glob(str(source), recursive=True))]
    path = source if source.exists() else Path(str(source).removeprefix("@"))
    try:
        lines = read_regular(path, _LIST_BYTES)[0].decode().splitlines()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UserError(
            f"--data.predict_dir {source} cannot be read ({reason}). Give a text file with the path of an "
            "image on each line."
        ) from error
    names = [name for line in lines if (name := line.strip())]
    # Paths count from the working folder, as those of `ls` and `find`, or else from the list's own.
    beside = [path.parent / name for name in names]
    places = [b if b.exists() and not os.path.exists(a) else a for a, b in zip(names, beside, strict=True)]
    return list(dict.fromkeys(Path(os.path.abspath(place)) for place in places))
