"""Sliding-window inference."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vocseg.inference.tta import Predict


@dataclass(frozen=True)
class SlidingWindow:
    """Square windows that cover an image.

    Attributes:
        size: Side length of a window in pixels.
        stride: Step between windows as a fraction of the side length.
    """

    size: int
    stride: float

    @property
    def label(self) -> str:
        """Name in scores."""
        return f"stride {self.stride:g}"

    def starts(self, length: int) -> list[int]:
        """Return the starts of the windows along an axis; the last window ends with it.

        Args:
            length: Length of the axis in pixels, at least `size`.
        """
        last, step = length - self.size, max(1, round(self.stride * self.size))
        return [*range(0, last, step), last]

    def probabilities(
        self, predict: Predict, image: npt.NDArray[np.uint8], batch: int, device: torch.device
    ) -> Tensor:
        """Return the mean softmax over the windows that contain a pixel.

        An image smaller than a window is padded by reflection to the right and below.

        Args:
            predict: Network from images uint8 `[M,3,S,S]` to logits `[M,C,S,S]`.
            image: uint8 `[H,W,3]`.
            batch: Windows per forward pass.
            device: Device of the network.

        Returns:
            float32 `[C,H,W]`.
        """
        height, width = image.shape[:2]
        missing = [(0, max(0, self.size - edge)) for edge in (height, width)]
        padded = np.ascontiguousarray(np.pad(image, [*missing, (0, 0)], mode="reflect"))
        pixels = torch.from_numpy(padded).to(device).permute(2, 0, 1)  # [3,H',W']
        rows, columns = ([slice(at, at + self.size) for at in self.starts(edge)] for edge in pixels.shape[1:])
        places = [(row, column) for row in rows for column in columns]
        seen, total = torch.zeros(pixels.shape[1:], device=device), None
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            found = predict(torch.stack([pixels[:, y, x] for y, x in some])).float().softmax(1)  # [M,C,S,S]
            if total is None:
                total = torch.zeros(found.shape[1], *seen.shape, device=device)
            for (y, x), probabilities in zip(some, found, strict=True):
                total[:, y, x] += probabilities
                seen[y, x] += 1
        assert total is not None
        return total.div_(seen)[:, :height, :width]
