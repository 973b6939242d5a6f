"""Small data sets in the layouts that annotation programs export, with the same scenes in all."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from vocseg.data.image_io import save_mask
from vocseg.data.synthetic import draw_scene

NAMES = ("background", "animal", "vehicle")
COLOURS = ((0, 0, 0), (250, 50, 83), (42, 125, 209))
ANIMALS, VEHICLES = (3, 8, 10, 12, 13, 17), (1, 2, 4, 6, 7, 14, 19)

Pair = tuple[str, np.ndarray, np.ndarray]


def pairs(count: int, void: bool = False) -> Iterator[Pair]:
    """Id, image RGB `[H,W,3]` and mask `[H,W]` with the values 0, 1, 2, and 255 round objects if `void`."""
    for k in range(count):
        image, mask = draw_scene(np.random.default_rng([1, k]), [ANIMALS[k % 6], VEHICLES[k % 7]])
        values = np.zeros_like(mask)
        values[np.isin(mask, ANIMALS)], values[np.isin(mask, VEHICLES)] = 1, 2
        values[mask == 255] = 255 if void else 0
        yield f"img_{k:03d}", image[::3, ::3], values[::3, ::3]


def labelme2voc(root: Path, count: int = 12) -> None:
    """As labelme's `labelme2voc.py` writes it: palette PNGs with 255 ignored, and no lists."""
    for folder in (
        "JPEGImages",
        "SegmentationClass",
        "SegmentationClassPNG",
        "SegmentationClassVisualization",
    ):
        (root / folder).mkdir(parents=True)
    (root / "class_names.txt").write_text("_background_\nanimal\nvehicle\n")
    for id, image, mask in pairs(count, void=True):
        Image.fromarray(image).save(root / "JPEGImages" / f"{id}.jpg")
        np.save(root / "SegmentationClass" / f"{id}.npy", np.where(mask == 255, -1, mask.astype(np.int32)))
        save_mask(mask, root / "SegmentationClassPNG" / f"{id}.png")
        Image.fromarray(image // 2).save(root / "SegmentationClassVisualization" / f"{id}.jpg")


def cvat(root: Path, count: int = 12) -> None:
    """As CVAT's "Segmentation mask 1.1" with images: one list, RGB masks, their colours in labelmap.txt."""
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(NAMES, COLOURS, strict=True)]
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    ids = []
    for id, image, mask in pairs(count):
        Image.fromarray(image).save(root / "JPEGImages" / f"{id}.jpg")
        for folder in ("SegmentationClass", "SegmentationObject"):
            Image.fromarray(np.array(COLOURS, np.uint8)[mask]).save(root / folder / f"{id}.png")
        ids.append(id)
    (root / "ImageSets/Segmentation/default.txt").write_text("\n".join(ids) + "\n")


def roboflow(root: Path, count: int = 12) -> None:
    """As Roboflow's "Semantic Segmentation Masks": a folder for each part, masks of values beside images."""
    for k, (id, image, mask) in enumerate(pairs(count)):
        folder = root / ("train" if k < count - 4 else "valid")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{id}_jpg.rf.{k:032x}.jpg")
        Image.fromarray(mask).save(folder / f"{id}_jpg.rf.{k:032x}_mask.png")
        rows = [f" {value}, {name}" for value, name in enumerate(NAMES)]
        (folder / "_classes.csv").write_text("\n".join(["Pixel Value, Class", *rows]) + "\n")


def folders(root: Path, count: int = 12) -> None:
    """Two folders, a binary mask drawn with 0 and 255, names and endings as people have them."""
    endings = (".jpg", ".JPG", ".jpeg", ".png")
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("thing\n")
    for k, (_, image, mask) in enumerate(pairs(count)):
        name = f"mein Bild für {k}"
        Image.fromarray(image).save(root / "images" / f"{name}{endings[k % 4]}")
        Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)).save(root / "masks" / f"{name}.png")


def run_lengths(region: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE of a bool mask: down the columns, zeros first."""
    flat = region.T.reshape(-1)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(np.int8)))
    return np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()  # type: ignore[no-any-return]


def coco(root: Path, count: int = 12) -> None:
    """As COCO has it: a JSON and a folder of images for each part; regions as RLE of both kinds."""
    (root / "annotations").mkdir(parents=True)
    parts = {
        name: {
            "images": [],
            "annotations": [],
            "categories": [{"id": 3, "name": "vehicle"}, {"id": 1, "name": "animal"}],
        }
        for name in ("train", "val")
    }
    for k, (id, image, mask) in enumerate(pairs(count)):
        name = "train" if k < count - 4 else "val"
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(image).save(root / name / f"{id}.jpg")
        height, width = mask.shape
        parts[name]["images"].append({"id": k, "file_name": f"{id}.jpg", "width": width, "height": height})
        packed = coco_mask.encode(np.asfortranarray(mask == 1, np.uint8))
        regions = {1: packed["counts"].decode(), 3: run_lengths(mask == 2)}
        for category, counts in regions.items():
            region = {"size": [height, width], "counts": counts}
            entry = {"id": 10 * k + category, "image_id": k, "category_id": category, "iscrowd": 0}
            parts[name]["annotations"].append({**entry, "segmentation": region})
    for name, content in parts.items():
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))


def labelme(root: Path, count: int = 12) -> None:
    """As labelme saves it: a JSON for each image, every other with the image embedded."""
    root.mkdir(parents=True)
    for k, (id, image, mask) in enumerate(pairs(count)):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG")
        if k % 2:
            (root / f"{id}.jpg").write_bytes(stream.getvalue())
        shapes: list[dict[str, Any]] = []
        for value in (1, 2):
            outlines = cv2.findContours(
                (mask == value).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            for outline in outlines[0]:
                points = outline[:, 0].astype(float).tolist()
                shapes.append({"label": NAMES[value], "points": points, "shape_type": "polygon"})
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [shape for shape in shapes if len(shape["points"]) > 2],
            "imagePath": f"{id}.jpg",
            "imageData": None if k % 2 else base64.b64encode(stream.getvalue()).decode(),
            "imageHeight": mask.shape[0],
            "imageWidth": mask.shape[1],
        }
        (root / f"{id}.json").write_text(json.dumps(content))


MAKERS = {
    "labelme_voc": labelme2voc,
    "cvat": cvat,
    "roboflow": roboflow,
    "mine": folders,
    "coco": coco,
    "annotated": labelme,
}  # by the README's root
