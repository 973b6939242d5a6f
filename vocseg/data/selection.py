"""Selection of splits by the data flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocseg.data import voc
from vocseg.data.classes import ClassList
from vocseg.data.download.sbd import download_sbd
from vocseg.data.download.voc import download_voc
from vocseg.data.splits import Split, divide, read_split
from vocseg.data.voc import Layout, split_list
from vocseg.errors import UserError


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
            if self._official:
                raise UserError(f"there is no VOC 2012 below {self.root}: name its folder with --data.root")
            raise UserError(
                f"there is no data set in {self.root}: it has no folder {self.naming.image_folder}; name the "
                "folder that holds the images' one with --data.root, and that one with --data.image_folder"
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
