"""Test-time augmentation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

Predict = Callable[[Tensor], Tensor]  # uint8 or float images [N,3,h,w] to logits [N,C,h,w]


@dataclass(frozen=True)
class TTAConfig:
    """Variants of an image whose predictions are averaged.

    Attributes:
        flip: Whether each variant is also flipped horizontally.
        scales: Scales of the side length.
        step: Number of which the decoder takes multiples as side lengths, in pixels.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    step: int = 1

    @property
    def label(self) -> str | None:
        """Name in scores. None: the image alone."""
        scales = "scales " + " ".join(f"{scale:g}" for scale in self.scales)
        words = [*(["flip"] if self.flip else []), *([scales] if self.scales != (1.0,) else [])]
        return ", ".join(words) or None

    def sizes(self, size: int) -> list[int]:
        """Return the side lengths of the variants in pixels, rounded to what the decoder takes."""
        edges = (self.step * max(1, int(size * scale / self.step + 0.5)) for scale in self.scales)
        return [size if scale == 1 else edge for scale, edge in zip(self.scales, edges, strict=True)]

    def logits(self, predict: Predict, image: Tensor) -> Tensor:
        """Return the network's logits, or the logarithms of the variants' mean probabilities.

        Logits of each variant are resized to the image (bilinear) and turned into probabilities (softmax).
        The softmax of the returned logarithms is their mean.

        Args:
            predict: Network.
            image: uint8 `[N,3,S,S]`.

        Returns:
            float32 `[N,C,S,S]`.
        """
        if self.label is None:
            return predict(image)
        probabilities = reduce(torch.add, self._each(predict, image))
        count = len(self.scales) * (1 + self.flip)
        return (probabilities / count).clamp(min=torch.finfo(torch.float32).tiny).log()

    def _each(self, predict: Predict, image: Tensor) -> Iterator[Tensor]:
        """Probabilities `[N,C,S,S]` of each variant."""
        size = image.shape[-1]
        for edge in self.sizes(size):
            scaled = image if edge == size else _resized(image.float(), edge, antialias=True)
            for mirrored in (False, True)[: 1 + self.flip]:
                logits = predict(scaled.flip(-1)).flip(-1) if mirrored else predict(scaled)
                yield (logits if edge == size else _resized(logits, size)).softmax(1)


def _resized(pixels: Tensor, edge: int, antialias: bool = False) -> Tensor:
    return functional.interpolate(pixels, (edge, edge), mode="bilinear", antialias=antialias)
