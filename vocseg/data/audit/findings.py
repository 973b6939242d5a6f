"""Findings of an audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["fault", "note"]

LIST_KINDS = {
    "list-missing": "there is no such list",
    "list-empty": "the list names no image",
    "list-unreadable": "the list cannot be read",
    "list-encoding": "the list is not UTF-8",
    "list-byte-order-mark": "the list begins with a byte order mark",
    "list-line-ends": "the list has Windows line ends",
    "list-blank-line": "the list has blank lines",
    "list-spaces": "lines of the list begin or end with spaces",
    "list-odd-id": "a line of the list is no plain id",
    "list-duplicate": "the list names an image twice",
    "list-overlap": "an image is in a list to train on and in a list to score on",
    "list-one-class": "no mask of the list shows any class but the first",
    "list-absent-class": "no mask of the list shows some of the classes",
    "list-void": "more than a third of the pixels in the masks of the list are void",
    "list-trainval": "trainval is not train and val together",
}
FOLDER_KINDS = {
    "folder-missing": "a folder is missing",
    "image-twice": "two images have the id",
    "image-missing": "an image that a list names is missing",
    "mask-missing": "the mask of an image that a list names is missing",
    "mask-unlisted": "no list names this mask",
    "wrong-ending": "the file's ending is not the folder's",
    "junk-file": "the file does not belong to the data set",
    "second-copy": "a second copy, by its name",
    "sub-folder": "a folder where files are expected",
    "not-a-file": "a pipe, a device or a broken link where a file is expected",
    "file-case": "names of files differ by upper and lower case only",
}
FILE_KINDS = {
    "empty-file": "the file has no content",
    "unreadable": "the file is no picture, or cannot be decoded",
    "truncated": "the file ends too early",
    "damaged": "bytes of the file are damaged, though it may decode",
    "trailing-bytes": "something follows the end of the picture",
    "wrong-format": "the file's content is not what its ending says",
    "animated": "the file holds several pictures",
    "too-large": "the picture has more pixels than can be meant",
    "sixteen-bit": "the picture has more than 8 bits a channel",
}
IMAGE_KINDS = {
    "image-rotated": "the camera says to turn the image",
    "image-cmyk": "the image has printing colours",
    "image-greyscale": "the image is stored in grey",
    "image-palette": "the image is stored with a palette",
    "image-alpha": "the image has an alpha channel",
    "image-mode": "the image is stored in an unusual way",
    "image-tiny": "the image is smaller than anything in it could be",
    "image-blank": "the image shows one colour",
    "copy": "the list holds one photograph twice",
    "copy-across": "one photograph is in lists to train and to score on",
    "near-copy-across": "all but the same photograph is in lists to train and to score on",
}
MASK_KINDS = {
    "mask-rgb": "the mask holds colours, not class indices",
    "mask-colour": "the mask has a colour that is no class's",
    "mask-alpha": "the mask has an alpha channel",
    "mask-grey": "the mask is a greyscale copy of the palette",
    "mask-palette": "the mask's palette is in another order",
    "mask-jpeg": "the mask was compressed as JPEG",
    "mask-one-bit": "the mask has one bit a pixel",
    "mask-mode": "the mask is stored in an unusual way",
    "mask-values": "the mask holds values that mean nothing",
    "mask-void": "the whole mask is void",
    "mask-background": "the whole mask is background",
    "size-mismatch": "the mask is not as large as its image",
}
KINDS = {**LIST_KINDS, **FOLDER_KINDS, **FILE_KINDS, **IMAGE_KINDS, **MASK_KINDS}
NOTES = {
    *("trailing-bytes", "image-greyscale", "image-palette", "image-alpha"),  # reading makes RGB of them
    *("list-absent-class", "list-void"),  # may be meant
}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        file: Path within the `VOC2012` folder, with slashes.
        kind: One of `KINDS`.
        text: What is wrong with this very file, and what to do.
    """

    file: str
    kind: str
    text: str

    @property
    def level(self) -> Level:
        """A note is worth knowing, but harms nothing."""
        return "note" if self.kind in NOTES else "fault"


class UnreadableFile(Exception):
    """A file of which nothing can be told beyond one finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few names and how many more there are: `a, b, c and 7 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
