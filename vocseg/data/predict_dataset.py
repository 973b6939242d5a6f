"""Dataset of images without masks."""

import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch.utils.data import Dataset

from vocseg import constants
from vocseg.data.batch import Sample
from vocseg.data.image_io import Bytes, read_image
from vocseg.data.resize import resize_image
from vocseg.data.samplers import SampleIndex, as_draw
from vocseg.data.skipped import SkippedSamples, lost
from vocseg.errors import UserError, printable

_IMAGES = {
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),
}
_VIDEOS = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"}
_VIDEO = "a video: extract its frames first, for example with `ffmpeg -i {} frames/%05d.png`"
_RESULTS = ("masks", "overlays", "confidence")  # folders that `predict` writes, the first two always
_RUNS = "lightning_logs"
_URL = re.compile(r"([A-Za-z][\w+.-]+):/+(.*)", re.DOTALL)
_LISTED = 3  # files in an error message


class ImageFolderDataset(Dataset[Sample]):
    """The images of a folder and its sub-folders (or one image), with masks that are all 255.

    Attributes:
        files: The images, sorted by path.
        names: Unique names of their results: the path below the folder without its ending.
        other_files: Reason why a path below the folder is no image.
        left_out: Images that cannot be read, with reasons.
    """

    def __init__(self, source: Path, size: int) -> None:
        """List the images of a folder, or one image, to resize them to `size` pixels each way.

        Raises:
            UserError: If there is no image.
        """
        self.source, self._size = source, size
        self.files: list[Path] = []
        self.other_files: dict[str, str] = {}
        broken: dict[str, str] = {}
        if os.path.isdir(source):
            self._list(source, broken)
            self.files.sort()
        elif os.path.isfile(source) and source.suffix.lower() not in _VIDEOS:
            self.files = [source]
        shown = [self.name_of(file) for file in self.files]
        self.names = _result_names(shown)
        self.left_out = SkippedSamples(str(source), shown, self._read, limit=None)
        self.left_out.reasons |= broken
        if not self.files:
            raise UserError(f"nothing to predict: {self._reason()}")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: SampleIndex | SupportsIndex) -> Sample:
        """Read one image, in its EXIF orientation; the index of an unreadable one is below 0."""
        draw = as_draw(item, len(self))
        index = draw.index
        try:
            image = self._read(index)
        except UserError:
            image, index = np.zeros((self._size, self._size, 3), np.uint8), lost(index)
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),  # [H,W,3] -> [3,H,W]
            "mask": torch.full(image.shape[:2], constants.IGNORE_INDEX, dtype=torch.uint8),
            "index": -1 if draw.filler else index,
        }

    def name_of(self, path: Path) -> str:
        """Return the path of a file below the folder; the file's name, if it is the source itself."""
        return path.name if path == self.source else path.relative_to(self.source).as_posix()

    def _read(self, index: int) -> Bytes:
        return resize_image(read_image(self.files[index], exif=True), (self._size, self._size))

    def _list(self, folder: Path, broken: dict[str, str]) -> None:
        """Sort everything below a folder into images, broken links to images, and the rest."""
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            if folder == self.source:
                raise UserError(f"--data.predict_dir {folder} cannot be listed ({error.strerror})") from error
            self.other_files[f"{self.name_of(folder)}/"] = f"cannot be listed ({error.strerror})"
            return
        predicted = {*_RESULTS[:2]} <= {path.name for path in found}
        for path in found:
            name, image = self.name_of(path), path.suffix.lower() in _IMAGES
            if os.path.isdir(path):
                reason = _folder_reason(path, predicted)
                if reason is None:
                    self._list(path, broken)
                else:
                    self.other_files[f"{name}/"] = reason
            elif image and path.is_symlink() and not os.path.exists(path):
                broken[name] = f"the image {path} is a broken link: restore its target"
            elif (reason := _file_reason(path)) is not None:
                self.other_files[name] = reason
            else:
                self.files.append(path)

    def _reason(self) -> str:
        """Return why there is no image."""
        source, takes = str(self.source), ", ".join(sorted(_IMAGES))
        if url := _URL.fullmatch(source):
            return (
                f"--data.predict_dir {url[1]}://{url[2]} is a URL, and URLs are not downloaded. Download the "
                "file and give its path."
            )
        if self.source.suffix.lower() in _VIDEOS and os.path.isfile(self.source):
            return f"--data.predict_dir {source} is {_VIDEO.format(source)}."
        if not os.path.exists(source):
            return (
                f"--data.predict_dir {source} does not exist. Give a folder of images ({takes}) or one image."
            )
        left_out = self.left_out.reasons | self.other_files
        others = [f"{name}: {why}" for name, why in left_out.items()]
        more = [f"and {len(others) - _LISTED} more"] if len(others) > _LISTED else []
        listed = f" ({'; '.join(map(printable, [*others[:_LISTED], *more]))})" if others else ""
        return (
            f"{source} holds no image{listed}. Give --data.predict_dir a folder of images ({takes}) or one "
            "image."
        )


def _folder_reason(path: Path, predicted: bool) -> str | None:
    """Return why a folder is not searched; None: it is. `predicted`: it is beside masks and overlays."""
    if path.name.startswith("."):
        return "a hidden folder"
    if path.is_symlink():  # which may form a cycle
        return "a link to a folder: give its target to --data.predict_dir"
    if path.name == _RUNS:
        return "a folder of runs"
    return "results of predict" if predicted and path.name in _RESULTS else None


def _file_reason(path: Path) -> str | None:
    """Return why a file is not predicted; None: it is an image by its ending."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return "a hidden file"
    if suffix in _VIDEOS:
        return _VIDEO.format(path)
    if suffix not in _IMAGES:
        return f"not an image by its ending ({suffix})" if suffix else "not an image: it has no ending"
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "a pipe or a device, not a file"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def _result_names(paths: Sequence[str]) -> list[str]:
    """Paths without their endings, unless only those differ: `a_jpg` and `a_png`. Case is ignored."""
    stems = [str(Path(path).with_suffix("").as_posix()) for path in paths]
    count = Counter(stem.casefold() for stem in stems)
    taken = {stem for stem, times in count.items() if times == 1}
    names = []
    for stem, path in zip(stems, paths, strict=True):
        name, number = stem, 1
        if count[stem.casefold()] > 1:
            name = longer = f"{stem}_{Path(path).suffix[1:]}"
            while name.casefold() in taken:
                number += 1
                name = f"{longer}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
