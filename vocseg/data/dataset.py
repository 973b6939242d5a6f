"""Dataset of image and mask pairs, and the datasets of all splits."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocseg.constants import IGNORE_INDEX
from vocseg.data.cache import MemmapCache, build_cache, find_cache
from vocseg.data.dataloader import Batch, Sample, Samples
from vocseg.data.fingerprint import cache_folder, fingerprint, read_contents, write_contents
from vocseg.data.image_io import Bytes, read_image, read_mask, resize_mask
from vocseg.data.label_check import check_labels
from vocseg.data.raw_reader import ImageMaskReader, known_fingerprint
from vocseg.data.samplers import SampleIndex, as_draw
from vocseg.data.splits import Split, SplitFacts
from vocseg.data.transforms.augment import Augmentation, Augmenter, Sampling, stored_size
from vocseg.data.transforms.crops import SCALES, Scales
from vocseg.utils.progress import in_threads


class VOCSegmentation(Dataset[Sample]):
    """The images and masks of one split, at the input resolution.

    A sample is a dictionary: `image` uint8 `[3,H,W]` RGB, `mask` uint8 `[H,W]` (class index, 255 ignored),
    and `index`, its position in the split. Augmentation is a function of seed, epoch and index.

    Attributes:
        epoch: Of samples that are read by plain index; see `set_epoch`.
    """

    epoch = 0

    def __init__(self, split: Split, source: MemmapCache | ImageMaskReader, augmenter: Augmenter) -> None:
        self.split, self._source, self._augmenter = split, source, augmenter
        self.weights: Tensor | None = None  # `[N]`: sampling weights in training; None: uniform

    def __len__(self) -> int:
        return len(self.split)

    @property
    def item_bytes(self) -> int:
        """Bytes of one pair in a batch."""
        return 4 * self._augmenter.size**2

    @property
    def stored(self) -> bool:
        """True if pairs come from a cache."""
        return isinstance(self._source, MemmapCache)

    @property
    def ready(self) -> bool:
        """True if a pair is cached and at most flipped."""
        return self.stored and self._augmenter.augmentation in ("none", "light")

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of samples that are read by plain index.

        The workers of a stock DataLoader get it when they start, so not with `persistent_workers`.
        """
        self.epoch = epoch

    def __getitem__(self, item: SampleIndex | SupportsIndex) -> Sample:
        """Return the sample of a plain index, or of an item of our samplers.

        Raises:
            IndexError: If there is no such index.
            UserError: If a file is missing or wrong (see `ImageMaskReader`).
        """
        sample: Sample = self.__getitems__([item])[0]
        return sample

    def __getitems__(self, items: Sequence[SampleIndex | SupportsIndex]) -> Samples:
        """Return several samples, for torch's DataLoader; arguments and errors as of `__getitem__`."""
        return Samples(self.batch([as_draw(item, len(self), self.epoch) for item in items]))

    def batch(self, draws: Sequence[SampleIndex]) -> Batch:
        """Return a batch; each pixel is copied once. Errors as of `__getitem__`."""
        indices = [draw.index for draw in draws]
        size = self._augmenter.size
        images = np.empty((len(draws), size, size, 3), np.uint8)
        masks = np.empty((len(draws), size, size), np.uint8)
        if isinstance(self._source, MemmapCache) and self._augmenter.augmentation == "none":
            self._source.gather([self.split.rows[index] for index in indices], images, masks)
        else:
            self._fill(indices, draws[0].epoch, images, masks)
        for k, draw in enumerate(draws):
            if draw.filler:
                masks[k], indices[k] = IGNORE_INDEX, -1
        return {
            "image": torch.from_numpy(images).permute(0, 3, 1, 2),  # [N,H,W,3] -> [N,3,H,W], channels last
            "mask": torch.from_numpy(masks),
            "index": torch.from_numpy(np.array(indices)),
        }

    def partner(self, draw: SampleIndex) -> int | None:
        """Return the position of the pair that CutMix pastes into this one; None: none."""
        return self._augmenter.cutmix_partners([draw.index], draw.epoch)[0]

    def full_mask(self, index: int) -> Bytes:
        """Read a mask at its original resolution: class indices uint8 `[H,W]`, 255 ignored."""
        classes = self.split.classes
        return classes.to_indices(read_mask(self.split.paths(index)[1], classes))

    def full_image(self, index: int) -> Bytes:
        """Read an image at its original resolution: RGB uint8 `[H,W,3]`."""
        return read_image(self.split.paths(index)[0])

    def _fill(self, indices: list[int], epoch: int, images: Bytes, masks: Bytes) -> None:
        chosen = self._augmenter.cutmix_partners(indices, epoch)
        needed = [*indices, *(k for k in chosen if k is not None)]
        if isinstance(self._source, ImageMaskReader):
            pairs = self._source.several(needed)  # in parallel
        else:
            pairs = [self._source[self.split.rows[index]] for index in needed]
        rest = iter(pairs[len(indices) :])
        partners = [None if k is None else next(rest) for k in chosen]
        self._augmenter.fill_batch(pairs[: len(indices)], indices, epoch, images, masks, partners)


@dataclass
class SplitDatasets:
    """The datasets "train" and "val", or "val" alone.

    Attributes:
        size: Side length in pixels of the input resolution.
        augmentation: Of "train".
        seed: Of the augmentation.
        scales: Smallest and largest scale of the crops.
        sampling: Of the images of "train".
        cache: True: the cache is required; False: no cache; None: a cache if there is room.
        cache_dir: Folder for caches and file records; None: see `cache_folder`.
        verify: Without a cache, read every file once before the run starts.
    """

    size: int
    augmentation: Augmentation
    seed: int
    scales: Scales = SCALES
    sampling: Sampling = "uniform"
    cache: bool | None = None
    cache_dir: Path | None = None
    verify: bool = True
    _sets: dict[str, VOCSegmentation] = field(default_factory=dict)
    _facts: dict[str, SplitFacts] = field(default_factory=dict)
    _checked: dict[str, Split] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self._sets

    def __getitem__(self, name: str) -> VOCSegmentation:
        return self._sets[name]

    def facts(self, name: str) -> SplitFacts:
        """Return name, number of images, fingerprint over ids and content, and size."""
        return self._facts[name]

    def prepare(self, splits: Mapping[str, Split]) -> None:
        """Build the caches or else check the files, on one process of each machine."""
        for name, split in splits.items():
            folder = self._folder(split)
            size, cached = self._stored_size(name), None
            if self.cache is not False:
                cached = build_cache(split.whole(), size, folder, required=self.cache is True)
            if cached is None and self.verify:
                reader = ImageMaskReader(split, folder, self.size)
                reader.check()
                with contextlib.suppress(OSError):  # a folder that cannot be written costs a second reading
                    write_contents(folder, reader.seen)
            if self._checked.get(name) != split:  # Lightning prepares the data of `finetune` twice more
                check_labels(split, folder, training=name == "train")
                self._checked[name] = split

    def open(self, splits: Mapping[str, Split]) -> None:
        """Open what was prepared, on every process."""
        for name, split in splits.items():
            source, augmentation = self._source(name, split), self._augmentation(name)
            augmenter = Augmenter(augmentation, self.size, self.seed, len(split), self.scales)
            self._sets[name] = VOCSegmentation(split, source, augmenter)
            if name == "train" and self.sampling == "balanced":
                self._sets[name].weights = self._balanced_weights(split)
            known = known_fingerprint(split, self._folder(split))
            self._facts[name] = {
                "split": split.name,
                "images": len(split),
                # Of unread files, over the ids alone.
                "fingerprint": known or "ids-" + fingerprint(split.ids, [("", "")] * len(split))[:12],
                "size": self.size,
            }

    def class_pixels(self, split: Split) -> list[int]:
        """Return the number of pixels of each class in the masks of a training split, as cached."""
        return [int(count) for count in self._mask_counts(split).sum(0)]

    def _balanced_weights(self, split: Split) -> Tensor:
        """Sampling weights `[N]`: an image weighs 1 / sqrt(f) of its rarest class.

        f is the fraction of images that show the class: the repeat factors of LVIS (Gupta et al., CVPR 2019).
        """
        shown = self._mask_counts(split) > 0
        frequency = np.maximum(shown.mean(0), 1 / len(shown))
        return torch.from_numpy(np.maximum((shown / np.sqrt(frequency)).max(1), 1.0))

    def _mask_counts(self, split: Split) -> npt.NDArray[np.int64]:
        """Pixels of each class in each mask of a training split `[N,C]`."""
        source, size = self._source("train", split), self._stored_size("train")

        def read(index: int) -> Bytes:
            mask = read_mask(split.paths(index)[1], split.classes)
            return split.classes.to_indices(resize_mask(mask, (size, size)))

        stored = isinstance(source, MemmapCache)
        masks = (source[row].mask for row in split.rows) if stored else in_threads(read, range(len(split)))
        count = len(split.classes)
        return np.array([np.bincount(mask.ravel(), minlength=count)[:count] for mask in masks])

    def _source(self, name: str, split: Split) -> MemmapCache | ImageMaskReader:
        """The pairs as prepared; a cache holds the complete list of the split."""
        size, folder, complete = self._stored_size(name), self._folder(split), split.whole()
        found = None if self.cache is False else find_cache(complete, size, folder)
        if found is not None:
            decode = ImageMaskReader(complete, folder, size).__getitem__
            return MemmapCache(found, len(complete), size, decode)
        return ImageMaskReader(split, folder, size, read_contents(folder) if self.verify else None)

    def _folder(self, split: Split) -> Path:
        return cache_folder(split.layout.folder, self.cache_dir)

    def _augmentation(self, name: str) -> Augmentation:
        return self.augmentation if name == "train" else "none"

    def _stored_size(self, name: str) -> int:
        return stored_size(self.size, self._augmentation(name))
