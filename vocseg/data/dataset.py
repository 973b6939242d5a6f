"""Splits as torch data sets, and the batch they are collated to."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocseg import voc
from vocseg.data.order import Draw
from vocseg.data.reading import read_image, read_pair
from vocseg.data.transforms import Augmentation, PairTransform, resize_image
from vocseg.errors import UserError


class Sample(TypedDict):
    """One item: image uint8 `[H,W,3]` RGB, mask uint8 `[H,W]` (0..20, 255), and its position in the split."""

    image: Tensor
    mask: Tensor
    index: int


class Batch(TypedDict):
    """What is shipped: image uint8 `[N,3,H,W]` RGB, mask uint8 `[N,H,W]`, index int64 `[N]` (-1: a filler)."""

    image: Tensor
    mask: Tensor
    index: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; the image keeps its bytes in NHWC order, which is torch's channels-last."""
    return {
        "image": torch.stack([sample["image"] for sample in samples]).permute(
            0, 3, 1, 2
        ),  # [N,H,W,3] -> [N,3,H,W]
        "mask": torch.stack([sample["mask"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


class VOCSegmentation(Dataset[Sample]):
    """The images and masks of one split, resized to a square."""

    def __init__(
        self,
        folder: Path,
        split: str,
        ids: Sequence[str],
        size: int,
        augmentation: Augmentation = "none",
        seed: int = 0,
    ) -> None:
        """Point at the files; nothing is read yet.

        Args:
            folder: The `VOC2012` folder.
            split: Name of the list the ids come from.
            ids: The images to use, in order.
            size: Edge of the square in pixels.
            augmentation: See `PairTransform`.
            seed: Seeds the augmentation, together with epoch and position.
        """
        self.folder, self.split, self.ids, self.seed = folder, split, list(ids), seed
        self._transform = PairTransform(size, augmentation)

    def __len__(self) -> int:
        return len(self.ids)

    def paths(self, index: int) -> tuple[Path, Path]:
        """The image and the mask file of a position."""
        id = self.ids[index]
        return voc.image_path(self.folder, id), voc.mask_path(self.folder, id, self.split)

    def __getitem__(self, draw: Draw | int) -> Sample:
        """Read one pair.

        Raises:
            UserError: If a file is missing or wrong (see `read_pair`).
        """
        draw = draw if isinstance(draw, Draw) else Draw(draw)
        pair = read_pair(*self.paths(draw.index))
        image, mask = self._transform(*pair, key=(self.seed, draw.epoch, draw.index))
        if draw.filler:
            mask = np.full_like(mask, voc.IGNORE_INDEX)
        return {
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "index": -1 if draw.filler else draw.index,
        }


_PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class Photographs(Dataset[Sample]):
    """A folder of a user's own pictures (or one file), without masks: theirs are all void."""

    def __init__(self, source: Path, size: int) -> None:
        """List the pictures.

        Args:
            source: A folder, whose sub-folders are not searched, or one picture.
            size: Edge of the square in pixels.

        Raises:
            UserError: If there is nothing to predict, or two pictures would share one output name.
        """
        self.files = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
        self.files = [file for file in self.files if file.suffix.lower() in _PHOTOGRAPHS]
        self._size = size
        if not self.files:
            what = "holds none" if source.exists() else "does not exist"
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

    def __getitem__(self, draw: Draw | int) -> Sample:
        """Read one picture, turned upright as its camera says.

        Raises:
            UserError: If the file cannot be read.
        """
        draw = draw if isinstance(draw, Draw) else Draw(draw)
        image = resize_image(read_image(self.files[draw.index], exif=True), self._size)
        return {
            "image": torch.from_numpy(image),
            "mask": torch.full(image.shape[:2], voc.IGNORE_INDEX, dtype=torch.uint8),
            "index": -1 if draw.filler else draw.index,
        }
