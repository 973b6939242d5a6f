"""Splits, and the choice of their images."""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np

from vocseg.data import voc
from vocseg.data.classes import VOC_CLASSES, ClassList
from vocseg.data.download.sbd import download_sbd
from vocseg.data.download.voc import download_voc
from vocseg.data.voc import Layout, split_ids, split_list
from vocseg.errors import UserError


class SplitFacts(TypedDict):
    """Description of the images behind a score."""

    split: str
    images: int
    fingerprint: str
    size: int


@dataclass(frozen=True)
class Split:
    """A list of images, or a subset of one.

    Attributes:
        layout: Of its files.
        name: Of the list.
        ids: The images in use, in the list's order.
        classes: Of the masks.
        listed: The complete list; None: `ids` is complete.
    """

    layout: Layout
    name: str
    ids: tuple[str, ...]
    classes: ClassList = VOC_CLASSES
    listed: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def paths(self, index: int) -> tuple[Path, Path]:
        """Return the image and the mask file of a position."""
        return self.layout.image(self.ids[index]), self.layout.mask(self.ids[index], self.name)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Positions of the images in the complete list."""
        positions = {id: k for k, id in enumerate(self.listed or self.ids)}
        return tuple(positions[id] for id in self.ids)

    def whole(self) -> "Split":
        """Return the complete list."""
        return replace(self, ids=self.listed or self.ids, listed=None)

    def part(self, images: int | None, seed: int, flag: str) -> "Split":
        """Return a random subset of a number of images (None: all), in the list's order.

        Raises:
            UserError: If there are fewer images than `flag` asks for.
        """
        if images is None:
            return self
        if images > len(self):
            raise UserError(
                f"'{self.name}' has {len(self)} images, but --data.{flag} asks for {images}: "
                f"use --data.{flag} {len(self)}, or null for all"
            )
        chosen = sorted(np.random.default_rng(seed).permutation(len(self))[:images].tolist())
        return replace(self, ids=tuple(self.ids[k] for k in chosen), listed=self.listed or self.ids)


def read_split(layout: Layout, name: str, classes: ClassList = VOC_CLASSES) -> Split:
    """Read a list; without one, the split is the sub-folder of the images with its name.

    Raises:
        UserError: If there is neither, or the list is empty or has an id twice.
    """
    is_listed = os.path.isfile(split_list(layout.folder, name))
    if Path(name).name == name and not is_listed and (layout.folder / layout.image_folder / name).is_dir():
        return Split(layout, name, tuple(_paired(layout, name, name)), classes)
    return Split(layout, name, tuple(split_ids(layout.folder, name)), classes)


def divide(
    layout: Layout, names: tuple[str, str], fraction: float, seed: int, classes: ClassList = VOC_CLASSES
) -> tuple[Split, Split]:
    """Divide a list, or without one all pairs of image and mask, into training and validation images.

    The choice depends on the ids and the seed, and hardly on the other images. `names` are those of the list,
    which becomes the training split, and of the validation split.

    Raises:
        UserError: If there are fewer than two pairs.
    """
    listed = os.path.isfile(split_list(layout.folder, names[0]))
    ids = split_ids(layout.folder, names[0]) if listed else _paired(layout, names[0])
    if len(ids) < 2:
        raise UserError(
            f"--data.val_fraction {fraction}: {layout.folder} has {len(ids)} pair of image and mask, and a "
            "split needs 2"
        )
    validation = held_out(ids, fraction, seed)
    parts = [id for id in ids if id not in validation], [id for id in ids if id in validation]
    train, val = (Split(layout, name, tuple(part), classes) for name, part in zip(names, parts, strict=True))
    return train, val


def held_out(ids: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Choose validation ids by their hash and the seed: at least one, and never all."""
    drawn = sorted(ids, key=lambda id: hashlib.sha256(f"{seed} {id}".encode()).digest())
    return set(drawn[: min(max(round(fraction * len(ids)), 1), len(ids) - 1)])


def _paired(layout: Layout, name: str, within: str = "") -> list[str]:
    """Ids of the images that have a mask; raises if there are none."""
    ids, without_mask = layout.pairs(name, within)
    images = layout.folder / layout.image_folder / within
    if not ids:
        masks = layout.folder / layout.masks_of(name) / within
        raise UserError(
            f"there is no pair of image and mask: of the {without_mask} images in {images} none has a mask "
            f"ID{layout.mask_suffix} in {masks}: name the folder and the ending of the masks with "
            "--data.mask_folder and --data.mask_suffix"
        )
    if without_mask:
        warnings.warn(
            f"vocseg: {without_mask} images in {images} have no mask and are left out", stacklevel=2
        )
    return ids


@dataclass(frozen=True)
class Selection:
    """Choice of the splits "train" and "val".

    Attributes:
        root: Folder of the data set.
        naming: Folders and endings of images and masks.
        classes: Of the masks.
        lists: Name of the list of each split.
        parts: Number of images of each split; None: all.
        subset_seed: Seed of their choice.
        val_fraction: Fraction of the images of "train" that make up "val"; None: each has its list.
    """

    root: Path
    naming: Layout
    classes: ClassList
    lists: Mapping[str, str]
    parts: Mapping[str, int | None]
    subset_seed: int
    val_fraction: float | None = None

    def fetch(self) -> None:
        """Download what is missing of VOC; another data set is left as it is.

        Raises:
            UserError: If the download fails.
        """
        folder = voc.find_set(self.root, self.naming.image_folder)
        if folder is None and self._official:
            folder = download_voc(self.root)
        if folder is None or "trainaug" not in self.lists.values():
            return
        if not voc.split_list(folder, "trainaug").is_file() and voc.is_official(folder):
            download_sbd(self.root)

    def splits(self, names: Sequence[str]) -> dict[str, Split]:
        """Return the splits "train", "val", or both.

        Raises:
            UserError: If there is no data set or list, a list has too few images, or an image is in both.
        """
        folder = voc.find_set(self.root, self.naming.image_folder)
        if folder is None:
            raise UserError(
                f"there is no VOC 2012 below {self.root}, and no folder {self.naming.image_folder}: name the "
                "data set's folder with --data.root, and that of its images with --data.image_folder"
            )
        layout = replace(self.naming, folder=folder)
        if self.val_fraction is None:
            complete = {name: read_split(layout, self.lists[name], self.classes) for name in names}
        else:
            lists = self.lists["train"], self.lists["val"]
            train, val = divide(layout, lists, self.val_fraction, self.subset_seed, self.classes)
            complete = {"train": train, "val": val}
        splits = {
            name: complete[name].part(self.parts[name], self.subset_seed, f"max_{name}_samples")
            for name in names
        }
        if len(splits) == 2:
            _check_leak(splits["train"], splits["val"])
        return splits

    @property
    def _official(self) -> bool:
        """True if the data set may be VOC."""
        return self.val_fraction is None and replace(self.naming, image_suffix=None) == Layout(Path())


def _check_leak(train: Split, val: Split) -> None:
    """Raise if an image is in both, unless the user trains on `trainval` or on the scored list."""
    held_out = set(val.ids)
    shared = [id for id in train.ids if id in held_out]
    if shared and train.name != val.name and not train.name.startswith("trainval"):
        more = f" and {len(shared) - 1:,} more images are" if len(shared) > 1 else " is"
        raise UserError(
            f"{shared[0]}{more} in both '{train.name}' and '{val.name}', so that the score would "
            f"measure memorisation: remove the ids from {split_list(train.layout.folder, train.name)}"
        )
