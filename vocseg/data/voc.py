"""Layout, archives and lists of VOC 2012.

Source: the VOC 2012 development kit (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf).
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vocseg.errors import UserError, shown
from vocseg.utils.regular_file import read_regular

MOST_ID_BYTES = 200  # of an id: with its ending it is the name of a file, and systems allow 255
_LABELLED = re.compile(r"(\S+)[ \t]+(?:-1|0|1)")
_DRIVE = re.compile(r"[A-Za-z]:")


def read_ids(path: Path) -> list[str]:
    """The ids of a list, in its order; a byte order mark, Windows line ends and blank lines do no harm.

    An id may have spaces and any letters. Where every line is a word and -1, 0 or 1, as in the lists by class
    of VOC's development kit, the words are the ids.

    Args:
        path: An existing text file.

    Raises:
        UserError: If it cannot be read, names no image, names one twice, or a line is no id.
    """
    lines = without_labels(_lines(path))
    places: dict[str, int] = {}
    for number, line in lines:
        fault = id_fault(line)
        if fault is not None:
            raise UserError(
                f"line {number} of the split list {path} {fault}: write one id a line, which is an image's "
                "file name without folder and ending"
            )
        if line in places:
            raise UserError(
                f"the split list {path} names '{line}' twice, on the lines {places[line]} and {number}: "
                "remove one of the lines"
            )
        places[line] = number
    if not places:
        raise UserError(f"the split list {path} is empty: it needs one image id a line")
    return list(places)


def without_labels(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Numbered lines without the second column of VOC's development kit, if that is what they have.

    Args:
        lines: Number and text of each; none is blank.
    """
    found = [_LABELLED.fullmatch(line) for _, line in lines]
    ids = [match[1] for match in found if match is not None]
    if len(ids) < len(lines) or len(set(ids)) < len(ids):  # `photo 0` and `photo 1` are two images
        return lines
    return [(number, id) for (number, _), id in zip(lines, ids, strict=True)]


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers and without the spaces around them."""
    try:
        data = read_regular(path)[0]
        text = data.decode("utf-8-sig")
    except OSError as fault:
        raise UserError(
            f"the split list {path} cannot be read ({fault.strerror}): make it readable"
        ) from fault
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
        raise UserError(
            f"the split list {path} is no text: line {line} is not UTF-8; save it as UTF-8"
        ) from fault
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    return [(number, line.strip(" \t")) for number, line in lines if line.strip(" \t")]


def id_fault(id: str) -> str | None:
    """Why a line is no id: what it says must be a file within the data set."""
    if id.startswith("#"):
        return "is a comment, which a list cannot have"
    if not id.isprintable():
        return f"has an odd character ('{shown(id, 40)}')"
    if len(os.fsencode(id)) > MOST_ID_BYTES:
        return f"has {len(id):,} characters ('{shown(id, 40)}')"
    if "\\" in id or _DRIVE.match(id) or any(part in ("", ".", "..") for part in id.split("/")):
        return f"leads elsewhere ('{shown(id, 40)}')"
    return None


IMAGE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)


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


def find(root: Path) -> Path | None:
    """The `VOC2012` folder at or below `root` (itself, `VOC2012/`, `VOCdevkit/VOC2012/`), or None."""
    for folder in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if os.path.isdir(folder / "ImageSets" / "Segmentation"):  # Path's own raises where a name is too long
            return folder
    return None


def find_set(root: Path, image_folder: str) -> Path | None:
    """The folder of a data set that may have no lists: as `find`, or else the one with the images."""
    places = (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root)
    return find(root) or next((place for place in places if os.path.isdir(place / image_folder)), None)


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
    """Where the files of a data set lie: VOC's layout, give or take folders and endings.

    Attributes:
        folder: The one called `VOC2012`.
        image_folder: Of the images, within it.
        image_suffix: Ending of the images; None: any of `IMAGE_ENDINGS`, found for each image by itself.
        mask_folder: Of the masks; None: SegmentationClass (of lists called `...aug`, SegmentationClassAug).
        mask_suffix: What follows the id in the name of a mask.
    """

    folder: Path
    image_folder: str = "JPEGImages"
    image_suffix: str | None = None
    mask_folder: str | None = None
    mask_suffix: str = ".png"

    def image(self, id: str) -> Path:
        """The photograph of an id.

        Raises:
            UserError: If there are two.
        """
        found = self.images(id)
        if len(found) > 1:
            raise UserError(
                f"two images have the id '{shown(id)}': {found[0]} and {found[1].name}; remove one, or name "
                "the ending of all images with --data.image_suffix"
            )
        return found[0]

    def images(self, id: str) -> list[Path]:
        """The photographs that an id may mean, one as a rule; where there is none, what is missing."""
        suffix = self.image_suffix
        folder, _, stem = f"{self.image_folder}/{id}".rpartition("/")
        names = self._names(folder).get(_composed(stem), []) if suffix is None else []
        return [self.folder / folder / name for name in names or [f"{stem}{suffix or '.jpg'}"]]

    def mask(self, id: str, split: str) -> Path:
        """The mask of an id; `trainaug` has its own folder, since SBD's masks are not the official ones."""
        folder, _, stem = f"{self.masks_of(split)}/{id}".rpartition("/")
        path = self.folder / folder / f"{stem}{self.mask_suffix}"
        if id.isascii() or path.exists():
            return path
        wanted = _composed(path.name)  # some systems write an umlaut as two characters
        names = os.listdir(path.parent) if path.parent.is_dir() else []
        return path.with_name(next((name for name in names if _composed(name) == wanted), path.name))

    def masks_of(self, split: str) -> str:
        """The folder of a list's masks."""
        usual = "SegmentationClassAug" if split.endswith("aug") else "SegmentationClass"
        return self.mask_folder or usual

    def pairs(self, split: str, within: str = "") -> tuple[list[str], int]:
        """The ids of all images that have a mask, sorted, and how many images have none.

        Args:
            split: Whose masks.
            within: Sub-folder of the images to look in; its name is a part of the ids.
        """
        top, masks = self.folder / self.image_folder, self.folder / self.masks_of(split)
        ids, alone = list[str](), 0
        for place, folders, files in os.walk(top / within):
            here = Path(place)
            folders[:] = [each for each in folders if not each.startswith(".") and here / each != masks]
            within = here.relative_to(top).as_posix()
            for file in files:
                if (stem := self._stem(file)) is not None:
                    id = unicodedata.normalize("NFC", stem if within == "." else f"{within}/{stem}")
                    there = self.mask(id, split).is_file()
                    ids += [id] if there else []
                    alone += not there
        return sorted(set(ids)), alone

    def _stem(self, name: str) -> str | None:
        """The name of an image without its ending; None: it is none."""
        if name.startswith(".") or (
            self.mask_folder == self.image_folder and name.endswith(self.mask_suffix)
        ):
            return None
        if self.image_suffix is not None:
            return name.removesuffix(self.image_suffix) if name.endswith(self.image_suffix) else None
        stem, ending = os.path.splitext(name)
        return stem if ending.lower() in IMAGE_ENDINGS else None

    @cached_property
    def _indices(self) -> dict[str, dict[str, list[str]]]:
        """By folder: the names of images by stem."""
        return {}

    def _names(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._indices:
            path, found = self.folder / folder, dict[str, list[str]]()
            for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
                if (stem := self._stem(name)) is not None:
                    found.setdefault(_composed(stem), []).append(name)
            self._indices[folder] = found
        return self._indices[folder]

    def name(self, path: Path) -> str:
        """A file's path within the folder, with slashes."""
        return path.as_posix().removeprefix(f"{self.folder.as_posix()}/")


def _composed(name: str) -> str:
    """A name in which an umlaut is one character."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def image_path(voc: Path, id: str) -> Path:
    """The photograph of an id."""
    return Layout(voc).image(id)


def mask_path(voc: Path, id: str, split: str) -> Path:
    """The mask of an id."""
    return Layout(voc).mask(id, split)
