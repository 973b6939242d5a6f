"""Protocol of a score."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """Conditions of a score; two scores are comparable if these are equal."""

    split: str
    images: int
    fingerprint: str  # of the ids and the decoded content of the images and masks
    size: int  # input resolution, size x size; 0: unknown
    resolution: Literal["network", "original"] = "network"  # of the scored pixels
    tta: str | None = None  # test-time augmentation, e.g. "flip, scales 0.75 1 1.25"
    windows: str | None = None  # sliding windows, e.g. "stride 0.5"; None: images are resized to the input

    @property
    def views(self) -> str:
        """Input resolution, windows and test-time augmentation."""
        size = f"{self.size}x{self.size}"
        windows = f" windows, {self.windows}" if self.windows else ""
        return size + windows + (f"; tta: {self.tta}" if self.tta else "")

    @property
    def pixels(self) -> str:
        """Resolution of the scored pixels."""
        return "original resolution" if self.resolution == "original" else self.views

    def __str__(self) -> str:
        original = self.resolution == "original" and self.size
        predicted = f" (predicted {'in' if self.windows else 'at'} {self.views})" if original else ""
        return (
            f"{self.split}, {self.images:,} images at {self.pixels}{predicted} (data {self.fingerprint[:8]})"
        )
