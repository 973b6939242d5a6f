"""Which images a user wants: where they lie, from which lists, and how many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocseg import voc
from vocseg.classes import ClassList
from vocseg.data.download import download_sbd, download_voc
from vocseg.data.splits import Split, read_split
from vocseg.errors import UserError
from vocseg.voc import split_list


@dataclass(frozen=True)
class Selection:
    """A user's choice, by the names "train" and "val".

    Attributes:
        root: Holds the data set.
        image_folder: Of its images.
        image_suffix: Ending of their names.
        classes: What the masks hold.
        lists: Name of each list.
        parts: How many images of each; None: all.
        subset_seed: Chooses those.
    """

    root: Path
    image_folder: str
    image_suffix: str
    classes: ClassList
    lists: Mapping[str, str]
    parts: Mapping[str, int | None]
    subset_seed: int

    def fetch(self) -> None:
        """Get what is missing of the official set; to another set nothing is added.

        Raises:
            UserError: If it is not to be had.
        """
        folder = voc.find(self.root) or download_voc(self.root)
        wanted = "trainaug" in self.lists.values()
        if wanted and not voc.split_list(folder, "trainaug").is_file() and voc.is_official(folder):
            download_sbd(self.root)

    def splits(self, names: Sequence[str]) -> dict[str, Split]:
        """The images of "train", of "val", or of both.

        Raises:
            UserError: If there is no data set or list, it has fewer images than are wanted, or an image to
                train on is to be scored on.
        """
        folder = voc.find(self.root)
        if folder is None:
            raise UserError(f"there is no VOC 2012 below {self.root}: name its folder with --data.root")
        layout = voc.Layout(folder, self.image_folder, self.image_suffix)
        splits = {
            name: read_split(layout, self.lists[name], self.classes).part(
                self.parts[name], self.subset_seed, f"{name}_images"
            )
            for name in names
        }
        if len(splits) == 2:
            _check_leak(splits["train"], splits["val"])
        return splits


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
