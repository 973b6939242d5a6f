"""Scorer for any segmentation model."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vocseg.constants import CLASSES, IGNORE_INDEX
from vocseg.errors import UserError, shown
from vocseg.metrics.aggregate import boundary_band
from vocseg.metrics.confusion import confusion_matrices
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.per_image import PerImageConfusion, Protocol
from vocseg.metrics.run_groups import RunGroup
from vocseg.metrics.score import scores_dict
from vocseg.metrics.upsample import argmax_upsampled

Array = Tensor | npt.NDArray[Any]
Matrix = npt.NDArray[np.int32]


class Scorer:
    """Scores predictions of any model as `test` does.

    Saves one confusion matrix an image and no pixels, so a complete data set fits into memory:

        scorer = Scorer(["background", "cat", "dog"])
        for image, mask in pairs:
            scorer.update(model(image[None])[0], mask)
        print(scorer.compute()["mean_iou"])

    Not a `torchmetrics.Metric`: intervals and comparisons need the counts and the name of each image.

    Args:
        classes: Names of the C classes, background included, or C; default: VOC's 21.
        ignore_index: Value of mask pixels that are not scored.

    Raises:
        UserError: If the classes are invalid.
    """

    def __init__(self, classes: Sequence[str] | int = CLASSES, ignore_index: int = IGNORE_INDEX) -> None:
        names = [f"class {k}" for k in range(classes)] if isinstance(classes, int) else list(classes)
        if isinstance(classes, str) or not 0 < len(names) < 256 or len(set(names)) < len(names):
            value = shown(repr(classes))
            raise UserError(f"Scorer cannot use the classes {value}. Pass 1 to 255 different names, or C.")
        self.classes, self.ignore_index = tuple(names), int(ignore_index)
        self.reset()

    def __len__(self) -> int:
        """Number of images."""
        return len(self._counted)

    def reset(self) -> None:
        """Remove all images."""
        # Matrices `[C,C]` of the image and of its boundaries, digest of its mask, by id.
        self._counted: dict[str, tuple[Matrix, Matrix, bytes]] = {}

    def update(
        self,
        prediction: Array | Sequence[Array],
        mask: Array | Sequence[Array],
        ids: str | Sequence[Any] | None = None,
    ) -> None:
        """Count an image or a batch of images.

        Args:
            prediction: Logits or probabilities, floating `[C,h,w]`, upsampled to the mask's size; or classes,
                integer `[H,W]`. For a batch `[N,C,h,w]` or `[N,H,W]`, or a list.
            mask: True classes at the resolution to score, integer `[H,W]`; for a batch `[N,H,W]`, or a list.
            ids: Names of the images; None: their numbers, counted from 0.

        Raises:
            UserError: If shapes, types or values are wrong, or an image was counted before. Nothing of the
                batch is counted then.
        """
        if not isinstance(mask, list | tuple) and np.ndim(mask) < 3:
            prediction, mask = [prediction], [mask]  # type: ignore[list-item]
        names = _names(ids, len(self), len(mask))
        if not len(prediction) == len(mask) == len(names):
            raise UserError(
                f"Scorer.update got {len(prediction)} predictions, {len(mask)} masks and {len(names)} ids. "
                "Pass one of each for every image."
            )
        found: dict[str, tuple[Matrix, Matrix, bytes]] = {}
        for name, predicted, given in zip(names, prediction, mask, strict=True):
            if name in self._counted or name in found:
                raise UserError(f"image '{shown(name)}' was scored before. Pass each image once, or `reset`.")
            truth = self._truth(name, given)
            classes = self._predicted(name, predicted, truth.shape)
            banded = np.where(boundary_band(truth), truth, IGNORE_INDEX).astype(np.uint8)
            digest = hashlib.sha256(np.array(truth.shape, "<i8").tobytes() + truth.tobytes()).digest()
            found[name] = self._matrix(classes, truth), self._matrix(classes, banded), digest
        self._counted |= found

    def compute(self) -> dict[str, Any]:
        """Compute all metrics as plain values, equal to `original_resolution` in `scores.json` of `test`.

        Returns:
            `mean_iou`, `pixel_accuracy`, `class_iou`, `matrix`, `intervals`, `error_budget` and others.

        Raises:
            UserError: If no image was counted.
        """
        return scores_dict(self.image_scores())

    def compare(self, baseline: "Scorer") -> Comparison:
        """Difference to a baseline scored on the same images, with 95 % intervals.

        Raises:
            UserError: If the images, their masks or the classes differ.
        """
        before, after = baseline.image_scores(), self.image_scores()
        return compare_groups(RunGroup("baseline", (before,)), RunGroup("model", (after,)))

    def image_scores(self) -> PerImageConfusion:
        """Per-image confusion matrices; `python -m vocseg compare` reads the file that their `save` writes.

        Raises:
            UserError: If no image was counted.
        """
        if not self._counted:
            raise UserError("Scorer has no images: call `update` first")
        content = hashlib.sha256()
        for name in sorted(self._counted):
            content.update(name.encode() + b"\0" + self._counted[name][2])
        protocol = Protocol("images", len(self), content.hexdigest()[:32], 0, "original")
        matrices, bands, _ = zip(*self._counted.values(), strict=True)
        total, band = (np.stack(each).astype(np.int64) for each in (matrices, bands))
        return PerImageConfusion(tuple(self._counted), total, protocol, self.classes, band)

    def _truth(self, name: str, mask: Any) -> npt.NDArray[np.uint8]:
        """A mask as class indices uint8 `[H,W]`, 255 ignored."""
        labels = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "iub":
            raise UserError(
                f"the mask of image '{shown(name)}' is {labels.dtype} {labels.shape}. Pass integers [H,W]."
            )
        ignored = labels == self.ignore_index
        wrong = labels[~ignored & ((labels < 0) | (labels >= len(self.classes)))]
        if wrong.size:
            raise UserError(
                f"the mask of image '{shown(name)}' has the value {int(wrong[0])}, but there are "
                f"{len(self.classes)} classes (0 to {len(self.classes) - 1}) and the ignored value "
                f"{self.ignore_index}. Pass all class names, or set ignore_index."
            )
        return np.where(ignored, IGNORE_INDEX, labels).astype(np.uint8)

    def _predicted(self, name: str, prediction: Any, shape: tuple[int, ...]) -> Tensor:
        """Predicted classes, uint8 `[H,W]`."""
        given = torch.as_tensor(
            prediction if isinstance(prediction, Tensor) else np.asarray(prediction)
        ).detach()
        height, width = shape
        if given.is_floating_point():
            if given.ndim != 3 or len(given) != len(self.classes):
                raise UserError(
                    f"the logits of image '{shown(name)}' have the shape {tuple(given.shape)}, but there are "
                    f"{len(self.classes)} classes. Pass [{len(self.classes)},h,w], or integer classes [H,W]."
                )
            if bool(given.isnan().any()):
                raise UserError(f"the logits of image '{shown(name)}' contain NaN. Check the model.")
            return argmax_upsampled(given, (height, width)).cpu()
        if given.shape != shape:
            raise UserError(
                f"the prediction of image '{shown(name)}' has the shape {tuple(given.shape)}, its mask "
                f"{shape}. Pass logits [C,h,w], which are upsampled, or classes of the mask's size."
            )
        lowest, highest = int(given.min()), int(given.max())
        if lowest < 0 or highest >= len(self.classes):
            raise UserError(
                f"the prediction of image '{shown(name)}' has the class {lowest if lowest < 0 else highest}, "
                f"but there are {len(self.classes)} classes (0 to {len(self.classes) - 1})."
            )
        return given.cpu().to(torch.uint8)

    def _matrix(self, prediction: Tensor, truth: npt.NDArray[np.uint8]) -> Matrix:
        counts = confusion_matrices(prediction[None], torch.from_numpy(truth)[None], len(self.classes))
        return counts[0].numpy().astype(np.int32)


def _names(ids: Any, first: int, images: int) -> list[str]:
    """Names of the images of a batch; numbers are padded, so they sort in order."""
    if ids is None:
        return [f"{first + k:08d}" for k in range(images)]
    if isinstance(ids, str):
        return [ids]
    return [str(each) for each in (ids.tolist() if isinstance(ids, Tensor) else ids)]
