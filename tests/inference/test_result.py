"""Files, polygons and pictures of a prediction."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from vocseg.data.classes import VOC_CLASSES
from vocseg.data.image_io import Bytes
from vocseg.errors import UserError
from vocseg.inference.result import Result


def _result(mask: Bytes) -> Result:
    image = np.full((*mask.shape, 3), 90, np.uint8)
    return Result(image, torch.zeros(21, 4, 4), VOC_CLASSES, mask=mask)


def _noise(seed: int) -> Bytes:
    """Classes 0, 5, 12 and ignored pixels, as single pixels or blocks."""
    rng = np.random.default_rng(seed)
    height, width = (int(edge) for edge in rng.integers(1, 30, 2))
    values = rng.choice(np.array([0, 5, 12, 255], np.uint8), (height, width), p=[0.3, 0.3, 0.3, 0.1])
    grown = cv2.resize(values, None, fx=1 + seed % 3, fy=1, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(grown, np.uint8)


def test_polygons_restore_mask_in_coco() -> None:
    for seed in range(60):
        mask = _noise(seed)
        restored = np.zeros_like(mask)
        for region in _result(mask).polygons():
            rows, columns = (int(edge) for edge in mask.shape)
            pixels = coco.decode(coco.merge(coco.frPyObjects(region["segmentation"], rows, columns)))
            y, x = np.nonzero(pixels)
            box = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
            assert (region["area"], region["bbox"]) == (pixels.sum(), box)
            assert region["category"] == VOC_CLASSES.names[region["category_id"]]
            assert not restored[pixels == 1].any()
            restored[pixels == 1] = region["category_id"]
        assert (restored == np.where(mask == 255, 0, mask)).all()
    assert _result(np.zeros((3, 4), np.uint8)).polygons() == []  # background only


def test_notebook_shows_overlay_png() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[:, :20] = 12
    result = _result(mask)
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert (np.asarray(shown) == np.asarray(result.overlay())).all()
        assert shown.getpixel((50, 0)) == (90, 90, 90)
    assert repr(result) == "<Result image, 60x40: background 66.7%, dog 33.3%>"


def test_save_over_file_raises_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "masks").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        _result(np.zeros((3, 4), np.uint8)).save(tmp_path)
    assert (tmp_path / "masks").read_text() == "a file"
