"""Findings of an audit, and records of its files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocseg.data.fingerprint import FileContent
from vocseg.data.image_io import Bytes
from vocseg.data.splits import Split

KINDS = {
    "list-missing": "the split file is missing",
    "list-invalid": "the split file cannot be read, is empty, or has an invalid or duplicate id",
    "list-overlap": "an image is in a training and in an evaluation split",
    "list-one-class": "the masks of the split contain the first class only",
    "list-classes": "the masks of the split lack some classes, or are ignored (255) for a large part",
    "folder-missing": "a folder is missing",
    "image-twice": "two images have the same id",
    "image-missing": "an image of a split is missing",
    "mask-missing": "the mask of an image of a split is missing",
    "unreadable": "the file is corrupt, or not an image or mask that training can use",
    "damaged": "the file is corrupt, though it may decode",
    "image-rotated": "the EXIF orientation rotates the image",
    "duplicate": "the image is in a training and in an evaluation split, perhaps altered",
    "mask-palette": "the mask's palette is in another order",
    "mask-values": "the mask holds values or colours of no class",
    "size-mismatch": "the mask and its image differ in size",
}
NOTES = {"list-classes"}  # may be intended


@dataclass(frozen=True, order=True)
class Finding:
    """One finding of an audit.

    Attributes:
        file: Path within the `VOC2012` folder, with slashes.
        kind: One of `KINDS`.
        text: Details and remedy.
    """

    file: str
    kind: str
    text: str

    @property
    def level(self) -> Literal["fault", "note"]:
        """`fault`, or `note` if it is harmless."""
        return "note" if self.kind in NOTES else "fault"


@dataclass(frozen=True)
class FileRecord:
    """Properties of an image or a mask.

    Attributes:
        name: Its path within the `VOC2012` folder.
        findings: Faults of this file.
        size: Width and height as stored; None if it cannot be read.
        content: Digests; None if it cannot be read.
        orientation: EXIF orientation of an image; 1: upright.
        thumbnail: Greyscale thumbnail of an image, uint8 `[64,64]`.
        counts: Number of pixels with each value of a mask, int64 `[256]`.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    size: tuple[int, int] | None = None
    content: FileContent | None = None
    orientation: int = 1
    thumbnail: Bytes | None = None
    counts: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class DatasetScan:
    """Records of all files of the splits.

    Attributes:
        images: Records by id.
        masks: Records by path within the `VOC2012` folder.
    """

    images: dict[str, FileRecord]
    masks: dict[str, FileRecord]

    @property
    def files(self) -> list[FileRecord]:
        """All records."""
        return [*self.images.values(), *self.masks.values()]

    def pairs(self, split: Split) -> Iterator[tuple[FileRecord | None, FileRecord | None]]:
        """Yield the records of image and mask of every id of a split; None: it is missing."""
        for id in split.ids:
            mask = split.layout.name(split.layout.mask(id, split.name))
            yield self.images.get(id), self.masks.get(mask)
