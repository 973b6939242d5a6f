"""Runs for `report` made without a network: any number of images, any names."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.metrics.population import PROTOCOL
from vocseg.commands.results import ORIGINAL, keep, report_finetuning
from vocseg.constants import PALETTE
from vocseg.data.synthetic import draw_scene
from vocseg.data.voc import Layout
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.label_errors import DataLocation, LabelErrorData, prediction_path
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.score import Score, scores_dict

NAMES = (
    "background",
    "cat",
    "</script><script>document.title='taken'</script>",
    'a "quoted" & <b>bold</b> class',
)
IDS = (*(f"2008_{k:06d}" for k in range(18)), '"><img/src=x/onerror=alert(1)>', "it's&amp;<i>")


def safe(id: str) -> str:
    """An id that can name a file."""
    return id.replace("/", "\u2215")


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
    ways: dict[str, Any] | None = None,
) -> Path:
    """A run of `test`: predictions are the masks moved aside, with what follows from them."""
    random, classes = np.random.default_rng(seed), len(names)
    (folder / "predictions").mkdir(parents=True)
    matrices = np.zeros((len(ids), classes, classes), np.int64)
    regions = np.zeros((len(ids), 3, 8), np.float32)
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
    origin = DataLocation("d", str(layout.folder), "JPEGImages", ".jpg", "val", names, colours, values, ())
    LabelErrorData(ids, regions, origin).save(folder)
    protocol = replace(PROTOCOL, images=len(ids))
    original = replace(protocol, resolution="original", **(ways or {}))
    scores = PerImageConfusion(ids, matrices, original, names, matrices // 9)
    scores.save(folder / ORIGINAL)
    network = PerImageConfusion(ids, matrices // 2, replace(original, resolution="network"), names)
    perfect = replace(scores, matrices=matrices * np.eye(classes, dtype=np.int64), band=None)
    calibration = np.zeros((15, 3), np.int64)  # pixels, right, sum of probabilities
    calibration[4], calibration[13] = (10, 2, 3 * 2**24), (90, 72, 81 * 2**24)
    figures = {
        "original_resolution": scores_dict(scores),
        "input_resolution": scores_dict(network, None, 0.5),
        "ceiling": Score.of(perfect).as_dict(),
        "calibration": Calibration(calibration, network.protocol).as_dict(),
    }
    keep(_trainer(folder), figures)  # writes `scores.json`, as after `test`
    return folder


def write_finetuning(folder: Path, ids: tuple[str, ...], names: tuple[str, ...]) -> Path:
    """A run of `finetune`: after it, a tenth of the mistakes is right."""
    folder.mkdir(parents=True)
    matrices = np.random.default_rng(0).integers(100, 1000, (len(ids), len(names), len(names)))
    better = matrices - matrices // 10
    better[:, range(len(names)), range(len(names))] += (matrices // 10).sum(2)
    protocol = replace(PROTOCOL, images=len(ids))
    both = [PerImageConfusion(ids, each, protocol, names) for each in (matrices, better)]
    before, after = ((Score.of(each, 0.5), each) for each in both)
    report_finetuning(_trainer(folder), before, after)
    return folder


def _trainer(folder: Path) -> Any:
    """As much of a trainer as the writing asks for."""
    module = SimpleNamespace(loaded_from=None, hparams={"arch": "unet", "encoder": "<tiny>"})
    written = {"is_global_zero": True, "log_dir": str(folder), "fast_dev_run": False, "verb": "test"}
    return SimpleNamespace(lightning_module=module, figures=None, **written)
