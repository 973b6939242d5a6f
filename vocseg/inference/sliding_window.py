"""Sliding-window inference."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vocseg.inference.tta import Predict


@dataclass(frozen=True)
class SlidingWindow:
    """How windows cover an image.

    Attributes:
        size: Edge of a window in pixels: what the network gets.
        stride: From one window to the next, in parts of the edge.
    """

    size: int
    stride: float

    @property
    def label(self) -> str:
        """How a score names them."""
        return f"stride {self.stride:g}"

    def starts(self, length: int) -> list[int]:
        """Where windows begin along an axis: evenly, the last one flush with the end.

        Args:
            length: Of the axis in pixels, the window's edge or more.
        """
        last, step = length - self.size, max(1, round(self.stride * self.size))
        return [*range(0, last, step), last]

    def probabilities(
        self, predict: Predict, image: npt.NDArray[np.uint8], batch: int, device: torch.device
    ) -> Tensor:
        """Softmax of the windows that see a pixel, averaged with equal weights.

        An image smaller than a window is enlarged by reflection to the right and below; what is said of the
        reflection is cut off again.

        Args:
            predict: The network, from images uint8 `[M,3,S,S]` to logits `[M,C,S,S]`.
            image: uint8 `[H,W,3]`.
            batch: How many windows go through the network together.
            device: The network's.

        Returns:
            float32 `[C,H,W]`.
        """
        height, width = image.shape[:2]
        pixels = torch.from_numpy(self._padded(image)).to(device).permute(2, 0, 1)  # [3,H',W']
        seen = torch.zeros(pixels.shape[1:], device=device)
        total = torch.zeros(1, 1, 1, device=device)
        for places in self._batches(pixels, batch):
            found = predict(torch.stack([pixels[:, y, x] for y, x in places])).float().softmax(1)  # [M,C,S,S]
            if total.numel() == 1:
                total = torch.zeros(found.shape[1], *seen.shape, device=device)
            for (y, x), probabilities in zip(places, found, strict=True):
                total[:, y, x] += probabilities
                seen[y, x] += 1
        return total.div_(seen)[:, :height, :width]

    def _padded(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        missing = [(0, max(0, self.size - edge)) for edge in image.shape[:2]]
        return np.ascontiguousarray(np.pad(image, [*missing, (0, 0)], mode="reflect"))

    def _batches(self, pixels: Tensor, batch: int) -> Iterator[list[tuple[slice, slice]]]:
        rows, columns = ([slice(at, at + self.size) for at in self.starts(edge)] for edge in pixels.shape[1:])
        places = [(row, column) for row in rows for column in columns]
        return (places[at : at + batch] for at in range(0, len(places), batch))
