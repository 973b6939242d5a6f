"""The images to train and to score on: selected, made ready, opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from vocseg.data.chance import Sampling
from vocseg.data.counting import balanced_weights, class_pixels
from vocseg.data.crops import SCALES, Scales
from vocseg.data.dataset import VOCSegmentation
from vocseg.data.labels import check_labels
from vocseg.data.resizing import Form
from vocseg.data.splits import Split, SplitFacts
from vocseg.data.storage import Storage
from vocseg.data.transforms import Augmentation, Augmenter, stored_form


@dataclass
class Parts:
    """The parts "train" and "val" of a data set, or "val" alone.

    Attributes:
        storage: Where pairs come from.
        size: Edge in pixels of what the network gets.
        augmentation: Of "train".
        seed: Of its draws.
        scales: The least and the largest scale of its crops.
        sampling: How its images are chosen.
    """

    storage: Storage
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

    def _form(self, name: str) -> Form:
        return stored_form(self.size, self._augmentation(name))

    def _augmentation(self, name: str) -> Augmentation:
        return self.augmentation if name == "train" else "none"
