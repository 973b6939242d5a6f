"""Dataset of image and mask pairs, and the datasets of all splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocseg.constants import IGNORE_INDEX
from vocseg.data.batch import Batch, Sample, Samples
from vocseg.data.cache import MemmapCache
from vocseg.data.cache_build import CachePolicy
from vocseg.data.image_io import Bytes, ImageMask, read_image, read_mask
from vocseg.data.label_check import balanced_weights, check_labels, class_pixels
from vocseg.data.raw_reader import DecodedFiles
from vocseg.data.resize import ImageSize
from vocseg.data.samplers import SampleIndex, as_draw
from vocseg.data.skipped import SkippedSamples, lost
from vocseg.data.splits import Split, SplitFacts
from vocseg.data.transforms.augment import Augmenter, stored_form
from vocseg.data.transforms.crops import SCALES, Scales
from vocseg.data.transforms.sample_rng import Augmentation, Sampling


class VOCSegmentation(Dataset[Sample]):
    """The images and masks of one split, at the size the network gets.

    A sample is a dictionary: `image` uint8 `[3,H,W]` RGB, `mask` uint8 `[H,W]` (class index, 255: void), and
    `index`, its position in the split. What augmentation does to it follows from seed, epoch and index.

    Attributes:
        epoch: Of samples that are asked for by plain index; see `set_epoch`.
    """

    epoch = 0

    def __init__(
        self, split: Split, source: MemmapCache | DecodedFiles, augmenter: Augmenter, skip: bool = False
    ) -> None:
        """Put the parts together.

        Args:
            split: Which images.
            source: Their pairs: a store of the whole list, or their files.
            augmenter: What training does to them.
            skip: Put void in the place of a pair that cannot be read.
        """
        self.split, self._source, self._augmenter, self._skip = split, source, augmenter, skip
        self.weights: Tensor | None = None  # `[N]`: how often training samples each; None: all alike
        self.left_out = SkippedSamples(f"'{split.name}'", split.ids, self._read)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def item_bytes(self) -> int:
        """Of one pair in a batch."""
        return 4 * self._augmenter.size**2

    @property
    def stored(self) -> bool:
        """Whether pairs come decoded, from a store."""
        return isinstance(self._source, MemmapCache)

    @property
    def ready(self) -> bool:
        """Whether a pair is little more than copied: decoded already, and flipped at most."""
        return self.stored and self._augmenter.augmentation in ("none", "light")

    def set_epoch(self, epoch: int) -> None:
        """Augment samples that are asked for by plain index as in this epoch.

        A stock DataLoader's processes get it when they start, so not if `persistent_workers` is on.
        """
        self.epoch = epoch

    def __getitem__(self, item: SampleIndex | SupportsIndex) -> Sample:
        """One sample.

        Args:
            item: A plain index, negative ones as in a list, or a draw of our own orders.

        Raises:
            IndexError: If there is no such index.
            UserError: If a file is missing or wrong (see `ImageMaskReader`), unless such pairs are skipped.
        """
        sample: Sample = self.__getitems__([item])[0]
        return sample

    def __getitems__(self, items: Sequence[SampleIndex | SupportsIndex]) -> Samples:
        """Several, for torch's DataLoader; arguments and errors as of `__getitem__`."""
        return Samples(self.batch([as_draw(item, len(self), self.epoch) for item in items]))

    def batch(self, draws: Sequence[SampleIndex]) -> Batch:
        """A batch in one go: each pixel is copied once.

        Raises:
            UserError: As `__getitem__`.
        """
        indices = [draw.index for draw in draws]
        size = self._augmenter.size
        images = np.empty((len(draws), size, size, 3), np.uint8)
        masks = np.empty((len(draws), size, size), np.uint8)
        if isinstance(self._source, MemmapCache) and self._augmenter.augmentation == "none":
            self._source.gather([self.split.rows[index] for index in indices], images, masks)
        else:
            indices = self._fill(indices, draws[0].epoch, images, masks)
        for k, draw in enumerate(draws):
            if draw.filler:
                masks[k], indices[k] = IGNORE_INDEX, -1
        return {
            "image": torch.from_numpy(images).permute(0, 3, 1, 2),  # [N,H,W,3] -> [N,3,H,W], channels last
            "mask": torch.from_numpy(masks),
            "index": torch.from_numpy(np.array(indices)),
        }

    def partner(self, draw: SampleIndex) -> int | None:
        """Position of the pair of which augmentation puts a piece into this one; None: of none."""
        return self._augmenter.cutmix_partners([draw.index], draw.epoch)[0]

    def full_mask(self, index: int) -> Bytes:
        """The mask of a position at its own size: class indices uint8 `[H,W]`, 255 void.

        Raises:
            UserError: If the file is missing or wrong.
        """
        classes = self.split.classes
        mask = read_mask(self.split.paths(index)[1], classes)
        return mask if classes.as_stored else classes.table[mask]

    def full_image(self, index: int) -> Bytes:
        """The image of a position at its own size: RGB uint8 `[H,W,3]`.

        Raises:
            UserError: If the file is missing or wrong.
        """
        return read_image(self.split.paths(index)[0])

    def _fill(self, indices: list[int], epoch: int, images: Bytes, masks: Bytes) -> list[int]:
        """Read and augment; gives the indices, among them those of pairs that cannot be read."""
        chosen = self._augmenter.cutmix_partners(indices, epoch)
        read = self._pairs([*indices, *(k for k in chosen if k is not None)])  # all at once: side by side
        pairs, rest = read[: len(indices)], iter(read[len(indices) :])
        partners = [None if k is None else next(rest) for k in chosen]
        # What cannot be read counts nowhere, so that nothing that counts may be mixed into it.
        partners = [None if pair is None else other for pair, other in zip(pairs, partners, strict=True)]
        whole = [self._blank if pair is None else pair for pair in pairs]
        self._augmenter.fill_batch(whole, indices, epoch, images, masks, partners)
        return [lost(k) if pair is None else k for k, pair in zip(indices, pairs, strict=True)]

    @property
    def _blank(self) -> ImageMask:
        """What counts nowhere: black under void."""
        size = self._augmenter.size
        return ImageMask(np.zeros((size, size, 3), np.uint8), np.full((size, size), IGNORE_INDEX, np.uint8))

    def _read(self, index: int) -> None:
        self._pairs_of([index], skip=False)

    def _pairs(self, indices: Sequence[int]) -> list[ImageMask | None]:
        return self._pairs_of(indices, self._skip)

    def _pairs_of(self, indices: Sequence[int], skip: bool) -> list[ImageMask | None]:
        if isinstance(self._source, DecodedFiles):
            return self._source.several(indices, skip)
        rows = self.split.rows
        return [self._source[rows[index]] for index in indices]


@dataclass
class SplitDatasets:
    """The parts "train" and "val" of a data set, or "val" alone.

    Attributes:
        storage: Where pairs come from.
        size: Edge in pixels of what the network gets.
        augmentation: Of "train".
        seed: Of its draws.
        scales: The least and the largest scale of its crops.
        sampling: How its images are chosen.
    """

    storage: CachePolicy
    size: int
    augmentation: Augmentation
    seed: int
    scales: Scales = SCALES
    sampling: Sampling = "uniform"
    _sets: dict[str, VOCSegmentation] = field(default_factory=dict)
    _facts: dict[str, SplitFacts] = field(default_factory=dict)
    _checked: dict[str, Split] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        """Whether a part is open."""
        return name in self._sets

    def __getitem__(self, name: str) -> VOCSegmentation:
        return self._sets[name]

    def facts(self, name: str) -> SplitFacts:
        """List, number of images, fingerprint over ids and content, and size."""
        return self._facts[name]

    def left_out(self) -> dict[str, dict[str, str]]:
        """Images by list that this process went on without, with reasons."""
        return {part.split.name: part.left_out.reasons for part in self._sets.values()}

    def prepare(self, splits: Mapping[str, Split]) -> None:
        """Pack or check, on one process a machine.

        Raises:
            UserError: If a file is wrong.
        """
        for name, split in splits.items():
            self.storage.prepare(split, self._form(name))
            if self._checked.get(name) != split:  # Lightning prepares the data of `finetune` twice more
                check_labels(split, self.storage.folder(split), training=name == "train")
                self._checked[name] = split

    def open(self, splits: Mapping[str, Split]) -> None:
        """Point at what was prepared, on every process."""
        for name, split in splits.items():
            augmenter = Augmenter(self._augmentation(name), self.size, self.seed, len(split), self.scales)
            source = self.storage.open(split, self._form(name))
            self._sets[name] = VOCSegmentation(split, source, augmenter, self.storage.skip)
            if name == "train" and self.sampling == "balanced":
                weights = balanced_weights(split, source, self._form(name), self.storage.skip)
                self._sets[name].weights = torch.from_numpy(weights)
            self._facts[name] = {
                "split": split.name,
                "images": len(split),
                "fingerprint": self.storage.fingerprint(split),
                "size": self.size,
            }

    def class_pixels(self, split: Split) -> list[int]:
        """How many pixels of each class the masks of a split to train on hold, at the size they are kept in.

        Raises:
            UserError: If a file is wrong, unless such images are skipped.
        """
        form = self._form("train")
        return class_pixels(split, self.storage.open(split, form), form, self.storage.skip)

    def _form(self, name: str) -> ImageSize:
        return stored_form(self.size, self._augmentation(name))

    def _augmentation(self, name: str) -> Augmentation:
        return self.augmentation if name == "train" else "none"
