"""Findings of an audit, and records of its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocseg.data.fingerprint import FileContent
from vocseg.data.image_io import Bytes

Counts = npt.NDArray[np.int64]
Level = Literal["fault", "note"]

KINDS = {
    # splits
    "list-missing": "the split file is missing",
    "list-empty": "the split has no image",
    "list-unreadable": "the split file cannot be read",
    "list-encoding": "the split file is not UTF-8",
    "list-byte-order-mark": "the split file begins with a byte order mark",
    "list-line-ends": "the split file has Windows line ends",
    "list-blank-line": "the split file has blank lines",
    "list-spaces": "lines of the split file begin or end with spaces",
    "list-odd-id": "a line of the split file is not an id",
    "list-duplicate": "the split has an image twice",
    "list-overlap": "an image is in a training and in an evaluation split",
    "list-one-class": "the masks of the split contain the first class only",
    "list-absent-class": "the masks of the split lack some classes",
    "list-void": "more than a third of the mask pixels of the split are ignored (255)",
    "list-trainval": "trainval is not the union of train and val",
    # folders
    "folder-missing": "a folder is missing",
    "image-twice": "two images have the same id",
    "image-missing": "an image of a split is missing",
    "mask-missing": "the mask of an image of a split is missing",
    "mask-unlisted": "the mask is in no split",
    "wrong-ending": "the file's suffix is not the folder's",
    "junk-file": "the file does not belong to the data set",
    "second-copy": "the name is that of a second copy",
    "sub-folder": "a folder where files are expected",
    "not-a-file": "a pipe, a device or a broken link where a file is expected",
    "file-case": "file names differ by upper and lower case only",
    # files
    "empty-file": "the file has no content",
    "unreadable": "the file is not an image, or cannot be decoded",
    "truncated": "the file ends too early",
    "damaged": "the file is corrupt, though it may decode",
    "trailing-bytes": "bytes follow the end of the image",
    "wrong-format": "the file's format is not that of its suffix",
    "animated": "the file holds several images",
    "too-large": "the image has more pixels than allowed",
    "sixteen-bit": "the image has more than 8 bits per channel",
    # images
    "image-rotated": "the EXIF orientation rotates the image",
    "image-cmyk": "the image is stored as CMYK",
    "image-greyscale": "the image is stored as greyscale",
    "image-palette": "the image is stored with a palette",
    "image-alpha": "the image has an alpha channel",
    "image-mode": "the image has an unsupported mode",
    "image-tiny": "the image is smaller than 32 pixels",
    "image-blank": "the image has one colour only",
    "copy": "the split has identical images",
    "copy-across": "identical images are in training and evaluation splits",
    "near-copy-across": "near-duplicates are in training and evaluation splits",
    # masks
    "mask-rgb": "the mask holds colours, not class indices",
    "mask-colour": "the mask has a colour of no class",
    "mask-alpha": "the mask has an alpha channel",
    "mask-grey": "the mask is a greyscale copy of the palette",
    "mask-palette": "the mask's palette is in another order",
    "mask-jpeg": "the mask was compressed as JPEG",
    "mask-one-bit": "the mask has one bit per pixel",
    "mask-mode": "the mask has an unsupported mode",
    "mask-values": "the mask holds values of no class",
    "mask-void": "all pixels of the mask are ignored (255)",
    "mask-background": "all pixels of the mask are background",
    "size-mismatch": "the mask and its image differ in size",
}
NOTES = {
    *("trailing-bytes", "image-greyscale", "image-palette", "image-alpha"),  # converted to RGB on reading
    *("list-absent-class", "list-void"),  # may be intended
}


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
    def level(self) -> Level:
        """`fault`, or `note` if it is harmless."""
        return "note" if self.kind in NOTES else "fault"


@dataclass(frozen=True)
class FileRecord:
    """Properties of an image or a mask.

    Attributes:
        name: Its path within the `VOC2012` folder.
        findings: Findings in this file.
        size: Width and height as stored; None if it does not decode.
        content: Digests; None if a run cannot read it.
        orientation: EXIF orientation of an image; 1: upright.
        thumbnail: Greyscale thumbnail of an image, uint8 `[64,64]`.
        counts: Number of pixels with each value of a mask, int64 `[256]`.
    """

    name: str
    findings: tuple[Finding, ...]
    size: tuple[int, int] | None = None
    content: FileContent | None = None
    orientation: int = 1
    thumbnail: Bytes | None = None
    counts: Counts | None = None

    @property
    def sound(self) -> bool:
        """True if there is no fault."""
        return self.content is not None and all(finding.level == "note" for finding in self.findings)


@dataclass(frozen=True)
class DatasetScan:
    """Records of all files.

    Attributes:
        images: Records by id.
        masks: Records by path within the `VOC2012` folder.
        pairs: Findings between images and masks.
    """

    images: Mapping[str, FileRecord]
    masks: Mapping[str, FileRecord]
    pairs: tuple[Finding, ...]

    @property
    def files(self) -> list[FileRecord]:
        """All records, sorted by name."""
        return sorted([*self.images.values(), *self.masks.values()], key=lambda seen: seen.name)

    @property
    def sound(self) -> list[FileRecord]:
        """Records without a fault."""
        wrong = {finding.file for finding in self.pairs}
        return [seen for seen in self.files if seen.sound and seen.name not in wrong]


class UnreadableFile(Exception):
    """A file that cannot be checked beyond one finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding
