"""Records of the files of a data set."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocseg.data.audit.findings import Finding
from vocseg.data.fingerprint import FileContent

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FileRecord:
    """What was seen of an image or a mask.

    Attributes:
        name: Its path within the `VOC2012` folder.
        findings: What is wrong with it.
        size: Width and height as stored; None if it does not decode.
        content: Digests; None if it does not decode to what a run would read.
        orientation: Of an image, as EXIF numbers them; 1: upright.
        thumbnail: Of an image, uint8 `[64,64]`, grey.
        counts: Of a mask, int64 `[256]`: how many pixels have each value.
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
        """Whether a run would take it."""
        return self.content is not None and all(finding.level == "note" for finding in self.findings)


def size_text(size: tuple[int, int]) -> str:
    """Width and height for people: `500x375`."""
    return f"{size[0]}x{size[1]}"
