"""What is fixed about Pascal VOC 2012: classes, colours, the void label, counts, addresses and paths.

Source: the VOC 2012 development kit (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from vocseg.errors import UserError, shown
from vocseg.id_lists import read_ids

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
IGNORE_INDEX = 255  # "void": object borders and difficult areas; counts neither in the loss nor in a score

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels scaled to 0..1; what the encoders' weights expect
IMAGENET_STD = (0.229, 0.224, 0.225)

COUNTS = {"train": 1464, "val": 1449, "trainval": 2913, "images": 17125, "masks": 2913}
ARCHIVE = "VOCtrainval_11-May-2012.tar"
ARCHIVE_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
ARCHIVE_BYTES = 1_999_639_040
SOURCES = (
    f"https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/{ARCHIVE}",  # the official one, as in torchvision
    f"http://d2l-data.s3-accelerate.amazonaws.com/{ARCHIVE}",
    f"https://dataset.bj.bcebos.com/voc/{ARCHIVE}",
)

SBD_ARCHIVE = "benchmark.tgz"  # masks for more of VOC's images (Hariharan et al., ICCV 2011)
SBD_MD5 = "82b4d87ceb2ed10f6038a1cba92111cb"  # this and the address: torchvision's SBDataset
SBD_BYTES = 1_419_539_633
SBD_UNPACKED_BYTES = 200_000_000  # as palette PNGs, with room to spare
SBD_SOURCES = (
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
)
SBD_TRAINAUG = 10_582  # SBD's 11,355 images and VOC's training images, less VOC's validation images


def _colour(index: int) -> tuple[int, int, int]:
    """RGB of a label in the VOC colour map: the label's bits dealt out to the channels, high bits first."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


PALETTE = tuple(_colour(index) for index in range(256))


def find(root: Path) -> Path | None:
    """The `VOC2012` folder at or below `root` (itself, `VOC2012/`, `VOCdevkit/VOC2012/`), or None."""
    for folder in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if os.path.isdir(folder / "ImageSets" / "Segmentation"):  # Path's own raises where a name is too long
            return folder
    return None


def split_list(voc: Path, split: str) -> Path:
    """The text file that lists a split's ids."""
    return voc / "ImageSets" / "Segmentation" / f"{split}.txt"


def split_ids(voc: Path, split: str) -> list[str]:
    """The ids of a split in the order of its list.

    Raises:
        UserError: If there is no such list, or it names no image or one image twice, or a line is no id.
    """
    path = split_list(voc, split)
    folder = split_list(voc, "").parent
    if path.parent != folder or not os.path.isfile(path):
        have = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
        raise UserError(f"there is no split '{shown(split)}': the lists in {folder} are {shown(have, 160)}")
    return read_ids(path)


def is_official(voc: Path) -> bool:
    """Whether a set has as many images to train and to score on as VOC 2012 has."""
    return all(
        split_list(voc, split).is_file() and len(split_ids(voc, split)) == COUNTS[split]
        for split in ("train", "val")
    )


@dataclass(frozen=True)
class Layout:
    """Where the files of a data set lie: VOC's layout, give or take folder and ending of the images."""

    folder: Path  # the one called `VOC2012`
    image_folder: str = "JPEGImages"
    image_suffix: str = ".jpg"

    def image(self, id: str) -> Path:
        """The photograph of an id."""
        return self.folder / self.image_folder / f"{id}{self.image_suffix}"

    def mask(self, id: str, split: str) -> Path:
        """The mask of an id; `trainaug` has its own folder, since SBD's masks are not the official ones."""
        name = "SegmentationClassAug" if split.endswith("aug") else "SegmentationClass"
        return self.folder / name / f"{id}.png"

    def name(self, path: Path) -> str:
        """A file's path within the folder, with slashes."""
        return path.as_posix().removeprefix(f"{self.folder.as_posix()}/")


def image_path(voc: Path, id: str) -> Path:
    """The photograph of an id."""
    return Layout(voc).image(id)


def mask_path(voc: Path, id: str, split: str) -> Path:
    """The mask of an id."""
    return Layout(voc).mask(id, split)
