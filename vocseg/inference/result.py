"""Prediction of one image: mask, probabilities, areas, overlay, polygons, files."""

import io
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vocseg.constants import IGNORE_INDEX
from vocseg.data.classes import ClassList
from vocseg.data.image_io import Bytes, save_mask
from vocseg.metrics.upsample import argmax_upsampled, full_size_confidence
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import labelled_overlay

_JPEG_QUALITY = 92


class Result:
    """Prediction of one image.

    Attributes:
        image: The image, uint8 `[H,W,3]` RGB.
        mask: Class indices, uint8 `[H,W]`.
        logits: Logits, or log-probabilities, float32 `[C,h,w]` at the input resolution.
        class_list: Names and colours of the C classes.
        name: Name of the files that `save` writes, without extension. May contain folders.
        path: File of the image. None: it was given as pixels.
        seconds: Position in a video. None: a single image.
    """

    def __init__(
        self,
        image: Bytes,
        logits: Tensor,
        class_list: ClassList,
        name: str = "image",
        path: Path | None = None,
        mask: Bytes | None = None,
        seconds: float | None = None,
    ) -> None:
        """Upsample the logits to the image and take the best class of every pixel, unless `mask` is given."""
        self.image, self.logits, self.class_list = image, logits, class_list
        self.name, self.path, self.seconds = name, path, seconds
        if mask is None:
            best = argmax_upsampled(logits, (image.shape[0], image.shape[1]))
            mask = np.asarray(best.cpu().numpy(), np.uint8)
        self.mask = mask

    def __repr__(self) -> str:
        height, width = self.mask.shape
        areas = ", ".join(f"{name} {share:.1%}" for name, share in self.classes.items())
        return f"<Result {self.path or self.name}, {width}x{height}: {areas}>"

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Softmax of the logits at the original resolution, float32 `[C,H,W]`; computed on each access."""
        size = self.mask.shape
        full = torch.nn.functional.interpolate(self.logits.detach().float()[None], size, mode="bilinear")
        return np.asarray(full.softmax(1)[0].cpu().numpy(), np.float32)

    @property
    def confidence(self) -> Bytes:
        """Probability of the predicted class, uint8 `[H,W]`, 255 for 1."""
        best = full_size_confidence(self.logits, (self.mask.shape[0], self.mask.shape[1]))
        return np.asarray((best * 255).round().cpu().numpy(), np.uint8)

    @cached_property
    def areas(self) -> dict[str, dict[str, float]]:
        """Pixels (`pixels`) and fraction of the image (`share`) of each class in it, by name."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.class_list)).tolist()
        return {
            name: {"pixels": count, "share": count / self.mask.size}
            for name, count in zip(self.class_list.names, counts, strict=True)
            if count
        }

    @property
    def classes(self) -> dict[str, float]:
        """Fraction of the image of each class in it, by name."""
        return {name: area["share"] for name, area in self.areas.items()}

    def overlay(self) -> Image.Image:
        """Draw the objects of the mask on the image, with the names of their classes."""
        return Image.fromarray(labelled_overlay(self.image, self.mask, self.class_list))

    def polygons(self) -> list[dict[str, Any]]:
        """Return the connected regions of all classes but the first (background), as annotations of COCO.

        Vertices are corners of pixels, so that pycocotools restores the mask exactly. A hole is joined to the
        outline of its region by a cut without width.

        Returns:
            For each region `category_id` (class index), `category` (its name), `segmentation` (one polygon
            `[x, y, x, y, ...]`), `area` in pixels, `bbox` `[x, y, width, height]` and `iscrowd` 0.
        """
        found = []
        for index in np.unique(self.mask).tolist():
            if index not in (0, IGNORE_INDEX):
                kind = {"category_id": index, "category": self.class_list.names[index]}
                found += [kind | region for region in _regions(self.mask == index)]
        return found

    def save(self, folder: str | Path, confidence: bool = False) -> dict[str, str]:
        """Write `masks/NAME.png` (class indices with a palette) and `overlays/NAME.jpg`.

        With `confidence` also `confidence/NAME.png`, the probability of the predicted class in grey.

        Returns:
            Paths below the folder by kind: `mask`, `overlay`, `confidence`.

        Raises:
            UserError: If a file cannot be written. Existing files are replaced as a whole or not at all.
        """
        files = {
            "mask": (f"masks/{self.name}.png", self.mask_png()),
            "overlay": (f"overlays/{self.name}.jpg", encoded(self.overlay(), "JPEG", quality=_JPEG_QUALITY)),
        }
        if confidence:
            grey = encoded(Image.fromarray(self.confidence), "PNG")
            files["confidence"] = (f"confidence/{self.name}.png", grey)
        for path, content in files.values():
            atomic_write(Path(folder) / path, content)
        return {kind: path for kind, (path, _) in files.items()}

    def mask_png(self) -> bytes:
        """Return the mask as a palette PNG in the classes' colours."""
        stream = io.BytesIO()
        save_mask(self.mask, stream, self.class_list.palette)
        return stream.getvalue()

    def _repr_png_(self) -> bytes:
        """Show the overlay in a notebook."""
        return encoded(self.overlay(), "PNG")


def split_probabilities(probabilities: Tensor) -> tuple[Tensor, Bytes]:
    """Return `logits` and `mask` of a `Result` from probabilities `[C,H,W]`, which are overwritten."""
    mask = np.asarray(probabilities.argmax(0).cpu().numpy(), np.uint8)
    return probabilities.clamp_(min=1e-12).log_(), mask


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file; `options`: Pillow's."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _regions(pixels: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Polygon, area and box of each connected region of bool `[H,W]`."""
    # Of the image at twice the size, an outline of pixel centres is half a pixel inside of the edges.
    double = pixels.astype(np.uint8).repeat(2, 0).repeat(2, 1)
    contours, tree = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_corners(np.asarray(contour, np.int32)[:, 0, :]) for contour in contours]
    found = []
    for ring, (_, _, hole, parent) in zip(rings, tree[0] if rings else (), strict=True):
        if parent >= 0:
            continue
        path, area = ring, cv2.contourArea(ring)
        while hole >= 0:
            inner = rings[hole]
            nearest = int(np.abs(path - inner[0]).sum(1).argmin())
            path = np.concatenate([path[: nearest + 1], inner, inner[:1], path[nearest:]])
            area -= cv2.contourArea(inner)
            hole = tree[0][hole][0]
        x, y, right, bottom = (int(edge) for edge in (*ring.min(0), *ring.max(0)))
        found.append({
            "segmentation": [path.ravel().tolist()],
            "area": int(area),
            "bbox": [x, y, right - x, bottom - y],
            "iscrowd": 0,
        })  # fmt: skip
    return found


def _corners(centres: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Corners of pixels `[K,2]` of an outline at twice the size, without repeated ones."""
    corners = (centres + 1) // 2
    return np.asarray(corners[(corners != np.roll(corners, 1, 0)).any(1)])
