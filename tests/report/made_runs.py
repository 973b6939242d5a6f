"""Runs for `report` made without a network: any number of images, any names."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.scores.population import PROTOCOL
from vocseg.data.scene import draw_scene
from vocseg.scores.evidence import Evidence, Origin, prediction_path
from vocseg.scores.image_scores import ImageScores
from vocseg.voc import PALETTE, Layout

NAMES = (
    "background",
    "cat",
    "</script><script>document.title='taken'</script>",
    'a "quoted" & <b>bold</b> class',
)
IDS = (*(f"2008_{k:06d}" for k in range(18)), '"><img/src=x/onerror=alert(1)>', "it's&amp;<i>")
REPLACED = {"/": "\u2215"}  # an id is a file's name


def safe(id: str) -> str:
    """An id that can name a file."""
    return id.replace("/", REPLACED["/"])


def write_data(root: Path, ids: tuple[str, ...], classes: int, different: int = 6) -> Layout:
    """Photographs and masks; few are drawn, the others are links to them."""
    layout = Layout(root / "VOCdevkit" / "VOC2012")
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (layout.folder / name).mkdir(parents=True)
    (layout.folder / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids) + "\n")
    for k, id in enumerate(ids):
        image, mask = layout.image(id), layout.mask(id, "val")
        if k < different:
            photo, labels = draw_scene(np.random.default_rng([3, k]), [1 + k % 3, 2 + k % 5])
            Image.fromarray(photo).save(image, quality=90)
            Image.fromarray(np.where(labels == 255, 255, labels % classes).astype(np.uint8)).save(mask)
        else:
            os.link(layout.image(ids[k % different]), image)
            os.link(layout.mask(ids[k % different], "val"), mask)
    return layout


def write_run(
    folder: Path,
    layout: Layout,
    ids: tuple[str, ...],
    names: tuple[str, ...],
    seed: int = 0,
    different: int = 6,
) -> Path:
    """A run of `test`: predictions are the masks moved aside, with what follows from them."""
    random, classes = np.random.default_rng(seed), len(names)
    (folder / "predictions").mkdir(parents=True)
    matrices, regions = (
        np.zeros((len(ids), classes, classes), np.int64),
        np.zeros((len(ids), 3, 8), np.float32),
    )
    for k, id in enumerate(ids):
        path = prediction_path(folder, id)
        if k < different:
            mask = np.asarray(Image.open(layout.mask(id, "val")))
            found = np.where(mask == 255, 0, np.roll(mask, 8 + 5 * (k + seed), axis=1) % classes).astype(
                np.uint8
            )
            found = np.asarray(cv2.medianBlur(found, 5), np.uint8)
            picture = Image.fromarray(found)
            picture.putpalette([channel for colour in PALETTE for channel in colour])
            picture.save(path)
            cells = mask[mask != 255].astype(int) * classes + found[mask != 255]
            matrices[k] = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        else:
            os.link(prediction_path(folder, ids[k % different]), path)
            matrices[k] = matrices[k % different] + np.diag(random.integers(0, 3000, classes))
        regions[k, 0] = (random.random() / 5, 0.95, 1, classes - 1, 0.2, 0.3, 0.5, 0.7)
    colours = PALETTE[:classes]
    values = tuple((k,) for k in range(classes))
    origin = Origin("d", str(layout.folder), "JPEGImages", ".jpg", "val", names, colours, values, ())
    Evidence(ids, regions, origin).save(folder)
    scores = ImageScores(
        ids, matrices, replace(PROTOCOL, images=len(ids), resolution="original"), names, matrices // 9
    )
    scores.save(folder / "image_scores_original.npz")
    plain = {"classes": list(names), "protocol": asdict(scores.protocol), "matrix": scores.total().tolist()}
    _write_scores(folder, plain)
    return folder


def _write_scores(folder: Path, plain: dict[str, object]) -> None:
    kept = {
        "test": {**plain, "mean_iou": 0.41},
        "original": {
            **plain,
            "mean_iou": 0.4,
            "boundary_iou": {"estimate": 0.31, "low": 0.3, "high": 0.33},
            "calibration": {
                "ece": 0.0712,
                "bins": [
                    {"confidence": 0.3, "accuracy": 0.2, "pixels": 10},
                    {"confidence": 0.9, "accuracy": 0.8, "pixels": 90},
                ],
            },
        },
        "ceiling": {**plain, "mean_iou": 0.93},
        "weights": {
            "path": None,
            "relative": None,
            "run": None,
            "arch": "unet",
            "encoder": "<tiny>",
            "vocseg": "9",
        },
    }
    (folder / "scores.json").write_text(json.dumps(kept))
