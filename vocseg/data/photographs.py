"""A user's own pictures as a torch data set."""

import os
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch.utils.data import Dataset

from vocseg import voc
from vocseg.data.batch import Sample
from vocseg.data.decoding import Bytes
from vocseg.data.left_out import LeftOut, lost
from vocseg.data.order import Draw, as_draw
from vocseg.data.reading import read_image
from vocseg.data.resizing import resize_image
from vocseg.errors import UserError

_PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class Photographs(Dataset[Sample]):
    """A folder of a user's own pictures (or one file), without masks: theirs are all void."""

    def __init__(self, source: Path, size: int, skip: bool = False) -> None:
        """List the pictures.

        Args:
            source: A folder, whose sub-folders are not searched, or one picture.
            size: Edge of the square in pixels.
            skip: Go on without pictures that cannot be read.

        Raises:
            UserError: If there is nothing to predict, or two pictures would share one output name.
        """
        self.files = [file for file in _listed(source) if file.suffix.lower() in _PHOTOGRAPHS]
        self._size, self._skip = size, skip
        self.left_out = LeftOut(str(source), [file.name for file in self.files], self._read)
        if not self.files:
            what = "holds none" if os.path.exists(source) else "does not exist"
            raise UserError(
                f"nothing to predict: {source} {what}; --data.images takes a folder of pictures "
                f"({', '.join(sorted(_PHOTOGRAPHS))}) or one picture"
            )
        stems = [file.stem for file in self.files]
        if len(set(stems)) < len(stems):
            twice = next(stem for k, stem in enumerate(stems) if stem in stems[:k])
            raise UserError(
                f"{source} holds two pictures called '{twice}', whose masks would share a name: rename one"
            )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Draw | SupportsIndex) -> Sample:
        """Read one picture, turned upright as its camera says.

        Raises:
            UserError: If the file cannot be read, unless such pictures are skipped.
        """
        draw = as_draw(item, len(self))
        index = draw.index
        try:
            image = self._read(index)
        except UserError:
            if not self._skip:
                raise
            image, index = np.zeros((self._size, self._size, 3), np.uint8), lost(index)
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),  # [H,W,3] -> [3,H,W]
            "mask": torch.full(image.shape[:2], voc.IGNORE_INDEX, dtype=torch.uint8),
            "index": -1 if draw.filler else index,
        }

    def _read(self, index: int) -> Bytes:
        return resize_image(read_image(self.files[index], exif=True), (self._size, self._size))


def _listed(source: Path) -> list[Path]:
    """The files of a folder, or the one file; a folder or a pipe is none, whatever it is called.

    Raises:
        UserError: If the folder cannot be listed, or a link leads nowhere.
    """
    if not os.path.isdir(source):
        return [source] if os.path.isfile(source) else []
    try:
        found = sorted(source.iterdir())
    except OSError as fault:
        raise UserError(f"--data.images {source} cannot be listed ({fault.strerror})") from fault
    for path in found:
        if path.is_symlink() and not path.exists() and path.suffix.lower() in _PHOTOGRAPHS:
            raise UserError(f"{path} is a link that leads nowhere: restore its picture, or remove it")
    return [path for path in found if path.is_file()]
