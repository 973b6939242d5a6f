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
    """A user's choice, by the names "train" and "val".

    Attributes:
        root: Holds the data set.
        naming: Folders and endings of images and masks.
        classes: What the masks hold.
        lists: Name of each list.
        parts: How many images of each; None: all.
        subset_seed: Chooses those.
        val_fraction: Share of the images of "train" that make up "val"; None: each has its list.
    """

    root: Path
    naming: Layout
    classes: ClassList
    lists: Mapping[str, str]
    parts: Mapping[str, int | None]
    subset_seed: int
    val_fraction: float | None = None

    def fetch(self) -> None:
        """Get what is missing of the official set; to another set nothing is added.

        Raises:
            UserError: If it is not to be had.
        """
        folder = voc.find_set(self.root, self.naming.image_folder)
        if folder is None and self._official:
            folder = download_voc(self.root)
        wanted = "trainaug" in self.lists.values()
        if not wanted or folder is None or voc.split_list(folder, "trainaug").is_file():
            return
        if voc.is_official(folder):
            download_sbd(self.root)

    def splits(self, names: Sequence[str]) -> dict[str, Split]:
        """The images of "train", of "val", or of both.

        Raises:
            UserError: If there is no data set or list, it has fewer images than are wanted, or an image to
                train on is to be scored on.
        """
        folder = voc.find_set(self.root, self.naming.image_folder)
        if folder is None:
            raise UserError(self._nothing())
        layout = replace(self.naming, folder=folder)
        splits = {
            name: split.part(self.parts[name], self.subset_seed, f"max_{name}_samples")
            for name, split in self._whole(layout, names).items()
        }
        if len(splits) == 2:
            _check_leak(splits["train"], splits["val"])
        return splits

    def _whole(self, layout: Layout, names: Sequence[str]) -> dict[str, Split]:
        if self.val_fraction is None:
            return {name: read_split(layout, self.lists[name], self.classes) for name in names}
        lists = self.lists["train"], self.lists["val"]
        train, val = divide(layout, lists, self.val_fraction, self.subset_seed, self.classes)
        both = {"train": train, "val": val}
        return {name: both[name] for name in names}

    @property
    def _official(self) -> bool:
        """Whether what is asked for may be VOC."""
        return self.val_fraction is None and replace(self.naming, image_suffix=None) == Layout(Path())

    def _nothing(self) -> str:
        if self._official:
            return f"there is no VOC 2012 below {self.root}: name its folder with --data.root"
        return (
            f"there is no data set in {self.root}: it has no folder {self.naming.image_folder}; name the "
            "folder that holds the images' one with --data.root, and that one with --data.image_folder"
        )


def _check_leak(train: Split, val: Split) -> None:
    """Refuse a score that learning by heart would give.

    Who trains on `trainval`, or on the very list that is scored, means to.

    Raises:
        UserError: If an image is in both.
    """
    held_out = set(val.ids)
    shared = [id for id in train.ids if id in held_out]
    if shared and train.name != val.name and not train.name.startswith("trainval"):
        more = f" and {len(shared) - 1:,} more images are" if len(shared) > 1 else " is"
        raise UserError(
            f"{shared[0]}{more} in both '{train.name}' and '{val.name}', so that the score would tell what "
            f"was learnt by heart: remove the ids from {split_list(train.layout.folder, train.name)}"
        )
