"""Photographs, masks and predictions as small pictures inside the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg import voc
from vocseg.classes import ClassList
from vocseg.data.reading import read_image, read_mask
from vocseg.errors import UserError
from vocseg.scores.evidence import Evidence, prediction_path
from vocseg.views.draw import error_map

Bytes = npt.NDArray[np.uint8]

EDGE = 400  # pixels of the longer side; VOC's pictures have 500
_PHOTO_QUALITY, _ERRORS_QUALITY = 68, 55


@dataclass(frozen=True)
class Scene:
    """One image as its run saw it, all at its own size: RGB `[H,W,3]`, classes `[H,W]` twice."""

    image: Bytes
    truth: Bytes
    prediction: Bytes


class Pictures:
    """What can be shown of a run's images."""

    def __init__(self, evidence: Evidence, folder: Path, root: Path | None) -> None:
        """Find the data.

        Args:
            evidence: Of the run.
            folder: Of the run.
            root: Where the data lies now; None: where it lay.

        Raises:
            UserError: If it is not where the user says.
        """
        origin = evidence.origin
        self._folder, self._split = folder, origin.split
        self.classes = ClassList(origin.names, origin.colours, origin.values, origin.void, origin.coloured)
        self._layout = voc.Layout(
            _find(evidence, root),
            origin.image_folder,
            origin.image_suffix,
            origin.mask_folder,
            origin.mask_suffix,
        )
        self.missing: dict[str, str] = {}  # why an image cannot be shown, by its id

    def scene(self, id: str) -> Scene | None:
        """An image with its mask and prediction; None, and a reason in `missing`, if a file is not there."""
        try:
            image = read_image(self._layout.image(id))
            mask = read_mask(self._layout.mask(id, self._split), self.classes)
            prediction = _read_prediction(prediction_path(self._folder, id))
        except UserError as fault:
            self.missing[id] = fault.sentence
            return None
        if not image.shape[:2] == mask.shape == prediction.shape or prediction.max() >= len(self.classes):
            self.missing[id] = f"{self._layout.image(id)}, its mask and its prediction do not fit together"
            return None
        return Scene(image, self.classes.table[mask], prediction)

    @property
    def place(self) -> Path:
        """Where photographs are looked for."""
        return self._layout.folder


def _find(evidence: Evidence, root: Path | None) -> Path:
    if root is None:
        return Path(evidence.origin.folder)
    folder = voc.find_set(root, evidence.origin.image_folder)
    if folder is None:
        raise UserError(f"--root {root}: there is no data set below it; name the folder that --data.root was")
    return folder


def _read_prediction(path: Path) -> Bytes:
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                raise ValueError(f"mode {picture.mode}")
            return np.asarray(picture, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError, SyntaxError) as fault:
        raise UserError(f"{path} cannot be read ({fault})") from fault


def photo_uri(image: Bytes) -> str:
    """A photograph `[H,W,3]` as a data URI."""
    return _webp(_small(image, cv2.INTER_AREA), _PHOTO_QUALITY)


def errors_uri(scene: Scene) -> str:
    """The map of a prediction's errors as a data URI."""
    small = [_small(each, cv2.INTER_NEAREST_EXACT) for each in (scene.truth, scene.prediction)]
    return _webp(error_map(_small(scene.image, cv2.INTER_AREA), *small), _ERRORS_QUALITY)


def mask_uri(mask: Bytes, classes: ClassList) -> str:
    """Classes `[H,W]` in their colours as a data URI."""
    picture = Image.fromarray(_small(mask, cv2.INTER_NEAREST_EXACT))
    picture.putpalette([channel for colour in classes.palette for channel in colour])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return _uri("png", file)


def _small(pixels: Bytes, way: int) -> Bytes:
    height, width = pixels.shape[:2]
    scale = EDGE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)


def _webp(pixels: Bytes, quality: int) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=3)
    return _uri("webp", file)


def _uri(kind: str, file: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
