"""A split of VOC as a torch data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from vocseg import voc
from vocseg.data.batch import Sample
from vocseg.data.order import Draw
from vocseg.data.reading import read_pair
from vocseg.data.transforms import Augmentation, PairTransform


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
