"""Protocol by which a score was computed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """How a score was taken: two scores may be compared if these agree."""

    split: str
    images: int
    fingerprint: str  # over the ids of the images and their decoded content
    size: int  # images are predicted at size x size; 0: not known
    resolution: Literal["network", "original"] = "network"  # or at each image's own size
    tta: str | None = None  # test-time augmentation, as "flip, scales 0.75 1 1.25"; None: each image as it is
    windows: str | None = None  # as "stride 0.5": cut from the image at its own size; None: resized whole

    @property
    def views(self) -> str:
        """Size and number of the views that a prediction was made from."""
        size = f"{self.size}x{self.size}"
        windows = f" windows, {self.windows}" if self.windows else ""
        return size + windows + (f"; tta: {self.tta}" if self.tta else "")

    def __str__(self) -> str:
        predicted = f" (predicted {'in' if self.windows else 'at'} {self.views})" if self.size else ""
        where = self.views if self.resolution == "network" else f"their own size{predicted}"
        return f"{self.split}, {self.images:,} images at {where} (data {self.fingerprint[:8]})"
