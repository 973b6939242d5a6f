"""What a score must say of how it was taken."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """How a score was taken: two scores may be compared if these agree."""

    split: str
    images: int
    fingerprint: str  # over the ids of the images and their decoded content
    size: int  # images are predicted at size x size
    resolution: Literal["network", "original"] = "network"  # or at each image's own size

    def __str__(self) -> str:
        size = f"{self.size}x{self.size}"
        where = size if self.resolution == "network" else f"their own size (predicted at {size})"
        return f"{self.split}, {self.images:,} images at {where} (data {self.fingerprint[:8]})"
