"""Layout, archives and lists of VOC 2012.

See the VOC 2012 development kit (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf).
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vocseg.errors import UserError, shown, some
from vocseg.utils.regular_file import read_regular

MOST_ID_BYTES = 200  # of an id: file systems allow 255 with its ending
_LABELLED = re.compile(r"(\S+)[ \t]+(?:-1|0|1)")
_DRIVE = re.compile(r"[A-Za-z]:")


def read_ids(path: Path) -> list[str]:
    """Read the ids of a list, in its order.

    A byte order mark, Windows line ends and blank lines are allowed. An id may have spaces and any letters.
    Where every line is a word and -1, 0 or 1, as in VOC's lists by class, the words are the ids.

    Raises:
        UserError: If it cannot be read, is empty, has an id twice, or a line is not an id.
    """
    lines = without_labels(_lines(path))
    places: dict[str, int] = {}
    for number, line in lines:
        error = id_fault(line)
        if error is not None:
            raise UserError(
                f"line {number} of the split list {path} {error}: write one id a line, which is an image's "
                "file name without folder and ending"
            )
        if line in places:
            raise UserError(
                f"the split list {path} has '{line}' twice, on the lines {places[line]} and {number}: "
                "remove one of the lines"
            )
        places[line] = number
    if not places:
        raise UserError(f"the split list {path} is empty: it needs one image id a line")
    return list(places)


def without_labels(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Remove the second column of VOC's lists by class, if all lines (number, text) have one."""
    found = [_LABELLED.fullmatch(line) for _, line in lines]
    ids = [match[1] for match in found if match is not None]
    if len(ids) < len(lines) or len(set(ids)) < len(ids):  # `photo 0` and `photo 1` are two images
        return lines
    return [(number, id) for (number, _), id in zip(lines, ids, strict=True)]


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, stripped, with their numbers."""
    try:
        data = read_regular(path)[0]
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"the split list {path} cannot be read ({error.strerror}): make it readable"
        ) from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"the split list {path} is not text: line {line} is not UTF-8; save it as UTF-8"
        ) from error
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    return [(number, line.strip(" \t")) for number, line in lines if line.strip(" \t")]


def id_fault(id: str) -> str | None:
    """Return why a line is not an id, which must be a file within the data set; None: it is one."""
    leads_elsewhere = "\\" in id or _DRIVE.match(id) or any(part in ("", ".", "..") for part in id.split("/"))
    if leads_elsewhere or id.startswith("#") or not id.isprintable() or len(os.fsencode(id)) > MOST_ID_BYTES:
        return f"('{shown(id, 40)}') is a comment, leads elsewhere, is too long or has an odd character"
    return None


IMAGE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)

COUNTS = {"train": 1464, "val": 1449}
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
    """Return the `VOC2012` folder at or below `root` (itself, `VOC2012/`, `VOCdevkit/VOC2012/`), or None."""
    for folder in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if os.path.isdir(folder / "ImageSets" / "Segmentation"):  # Path's own raises where a name is too long
            return folder
    return None


def find_set(root: Path, image_folder: str) -> Path | None:
    """Return the folder of a data set that may have no lists: as `find`, else the one with the images."""
    places = (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root)
    return find(root) or next((place for place in places if os.path.isdir(place / image_folder)), None)


def split_list(voc: Path, split: str) -> Path:
    """Return the text file with the ids of a split."""
    return voc / "ImageSets" / "Segmentation" / f"{split}.txt"


def split_ids(voc: Path, split: str) -> list[str]:
    """Read the ids of a split in the order of its list.

    Raises:
        UserError: If there is no such list, and as `read_ids`.
    """
    path = split_list(voc, split)
    folder = split_list(voc, "").parent
    if path.parent != folder or not os.path.isfile(path):
        have = some(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
        raise UserError(
            f"there is no split '{shown(split)}': the lists in {folder} are {shown(have, 160)}. Name one of "
            "them or a sub-folder of the images, or split the images with --data.val_fraction 0.2"
        )
    return read_ids(path)


def is_official(voc: Path) -> bool:
    """Return whether a data set has as many training and validation images as VOC 2012."""
    return all(
        split_list(voc, split).is_file() and len(split_ids(voc, split)) == COUNTS[split]
        for split in ("train", "val")
    )


@dataclass(frozen=True)
class Layout:
    """Paths of a data set in VOC's layout, with other folders and file endings where set.

    Attributes:
        folder: The `VOC2012` folder.
        image_folder: Of the images, within it.
        image_suffix: File ending of the images; None: any of `IMAGE_ENDINGS`, found for each image.
        mask_folder: Of the masks; None: SegmentationClass (for lists `...aug`, SegmentationClassAug).
        mask_suffix: Part of a mask's file name after the id.
    """

    folder: Path
    image_folder: str = "JPEGImages"
    image_suffix: str | None = None
    mask_folder: str | None = None
    mask_suffix: str = ".png"

    def image(self, id: str) -> Path:
        """Return the image file of an id.

        Raises:
            UserError: If there are two.
        """
        found = self.images(id)
        if len(found) > 1:
            raise UserError(
                f"two images have the id '{shown(id)}': {found[0]} and {found[1].name}; remove one, or give "
                "the ending of all images with --data.image_suffix"
            )
        return found[0]

    def images(self, id: str) -> list[Path]:
        """Return the image files of an id, normally one; without any, the expected path."""
        suffix = self.image_suffix
        folder, _, stem = f"{self.image_folder}/{id}".rpartition("/")
        names = self._names(folder).get(_composed(stem), []) if suffix is None else []
        return [self.folder / folder / name for name in names or [f"{stem}{suffix or '.jpg'}"]]

    def mask(self, id: str, split: str) -> Path:
        """Return the mask file of an id in a split; `trainaug` has its own folder of SBD's masks."""
        folder, _, stem = f"{self.masks_of(split)}/{id}".rpartition("/")
        path = self.folder / folder / f"{stem}{self.mask_suffix}"
        if id.isascii() or path.exists():
            return path
        wanted = _composed(path.name)  # some systems write an umlaut as two characters
        names = os.listdir(path.parent) if path.parent.is_dir() else []
        return path.with_name(next((name for name in names if _composed(name) == wanted), path.name))

    def masks_of(self, split: str) -> str:
        """Return the name of the mask folder of a split."""
        usual = "SegmentationClassAug" if split.endswith("aug") else "SegmentationClass"
        return self.mask_folder or usual

    def pairs(self, split: str, within: str = "") -> tuple[list[str], int]:
        """Return the sorted ids of all images with a mask, and the number of images without.

        `within` is a sub-folder of the images, which becomes part of the ids.
        """
        top, masks = self.folder / self.image_folder, self.folder / self.masks_of(split)
        ids, without_mask = list[str](), 0
        for place, folders, files in os.walk(top / within):
            here = Path(place)
            folders[:] = [each for each in folders if not each.startswith(".") and here / each != masks]
            within = here.relative_to(top).as_posix()
            for file in files:
                if (stem := self._stem(file)) is not None:
                    id = unicodedata.normalize("NFC", stem if within == "." else f"{within}/{stem}")
                    has_mask = self.mask(id, split).is_file()
                    ids += [id] if has_mask else []
                    without_mask += not has_mask
        return sorted(set(ids)), without_mask

    def _stem(self, name: str) -> str | None:
        """Name of an image without its ending; None: the file is not an image."""
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
        """Return the path of a file within the folder, with slashes."""
        return path.as_posix().removeprefix(f"{self.folder.as_posix()}/")


def _composed(name: str) -> str:
    """Unicode NFC, in which an umlaut is one character."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def image_path(voc: Path, id: str) -> Path:
    """Return the image file of an id."""
    return Layout(voc).image(id)


def mask_path(voc: Path, id: str, split: str) -> Path:
    """Return the mask file of an id."""
    return Layout(voc).mask(id, split)
