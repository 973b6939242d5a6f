"""Prediction of the masks of a submission."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.callbacks.prediction_writer import full_size_mask
from vocseg.callbacks.test_time_augmentation import TestTimeAugmentation
from vocseg.checkpoints.weights import Weights, read_weights, rebuilt
from vocseg.constants import CLASSES
from vocseg.data.image_io import Bytes, read_image
from vocseg.data.resize import resize_image
from vocseg.data.voc import Layout
from vocseg.errors import UserError
from vocseg.inference.sliding_window import SlidingWindow

_SIZE = 256  # where a file of weights does not say


def read_voc_weights(path: Path, competition: int) -> Weights:
    """Weights whose predictions the server can score, in this competition.

    Raises:
        UserError: If they cannot be read, are of other classes, or were trained on more than VOC's own masks.
    """
    weights = read_weights(path)
    names = weights.description["classes"]
    if len(names) != len(CLASSES):
        differ = f"tells {len(names)} classes apart"
    else:
        differ = next(
            (
                f"has '{a}' as class {k}"
                for k, (a, b) in enumerate(zip(names, CLASSES, strict=True))
                if a != b
            ),
            "",
        )
    if differ:
        raise UserError(
            f"--ckpt_path {path}: {differ}; the server takes VOC's {len(CLASSES)} classes, in VOC's order: "
            "name weights that were trained on these"
        )
    split = str((weights.description.get("data") or {}).get("train", {}).get("split", ""))
    if competition == 5 and split.endswith("aug"):
        raise UserError(
            f"--competition 5: {path} was trained on '{split}', and SBD's masks are not VOC's own: use "
            "--competition 6"
        )
    return weights


class Predictor:
    """The network of a file of weights, predicting as `test` does."""

    def __init__(
        self,
        weights: Weights,
        path: Path,
        batch_size: int,
        flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
        stride: float | None = None,
    ) -> None:
        """Rebuild the network.

        Args:
            weights: Of the network; what they say of themselves rebuilds it.
            path: Where they are from.
            batch_size: How many images, or windows, go through the network together.
            flip: Predict images mirrored too.
            scales: Of the variants of an image.
            stride: Of windows that slide over an image; None: each is resized whole.

        Raises:
            UserError: If the flags cannot be used with this network.
        """
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = rebuilt(weights, path).to(self._device)
        self._size, self._batch_size = weights.description["size"] or _SIZE, batch_size
        self._variants = replace(TestTimeAugmentation(flip, scales).variants, step=self._network.step)
        self._variants.sizes(self._size)
        self._windows = (
            None if stride is None else OriginalResolutionEval(window_stride=stride).windows(self._size)
        )

    def masks(self, layout: Layout, ids: Sequence[str]) -> Iterator[tuple[str, Bytes]]:
        """The mask uint8 `[H,W]` of every image, with its id, in the list's order.

        Args:
            layout: Where the images are.
            ids: Which of them.

        Raises:
            UserError: If an image is missing or cannot be read.
        """
        with ThreadPoolExecutor(max_workers=2) as pool, torch.inference_mode():
            for at in range(0, len(ids), self._batch_size):
                part = ids[at : at + self._batch_size]
                images = list(pool.map(read_image, map(layout.image, part)))
                yield from zip(part, self._masks(images), strict=True)

    def _masks(self, images: list[Bytes]) -> list[Bytes]:
        if self._windows is not None:
            return [self._slide(self._windows, image) for image in images]
        resized = [torch.from_numpy(resize_image(image, (self._size, self._size))) for image in images]
        logits = self._logits(torch.stack(resized).to(self._device).permute(0, 3, 1, 2))  # [N,C,h,w]
        return [full_size_mask(one, image.shape[:2]) for one, image in zip(logits, images, strict=True)]

    def _slide(self, windows: SlidingWindow, image: Bytes) -> Bytes:
        best = windows.probabilities(self._logits, image, self._batch_size, self._device).argmax(0)
        return np.asarray(best.cpu().numpy(), np.uint8)

    def _logits(self, images: Tensor) -> Tensor:
        return self._variants.logits(self._network, images)
