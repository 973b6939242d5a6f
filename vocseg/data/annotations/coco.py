"""Reader of COCO's instances JSON: polygons, RLE, crowds."""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vocseg.data.annotations.annotated_image import (
    AnnotatedImage,
    Annotations,
    Bools,
    Shape,
    coordinates,
    find_image,
    image_name,
    read_lists,
)
from vocseg.errors import UserError, shown

_LISTS = ("images", "annotations", "categories")

_CROWD = "crowd regions (iscrowd) are ignored (255)"
_BOX = "boxes without a region are ignored (255)"
_NOTHING = "annotations without a region are left out"
_STRAY = "annotations of unknown images are left out"


def read_coco(path: Path, folders: Sequence[Path]) -> Annotations:
    """Read an instances JSON.

    Args:
        path: The file.
        folders: Folders of the images; empty: beside the file, in the layouts of COCO and common exporters.

    Raises:
        UserError: If pycocotools is missing, or the file is invalid.
    """
    try:
        import pycocotools.mask  # noqa: F401  # before reading
    except ImportError:
        raise UserError(
            "COCO's annotations cannot be read: pycocotools is missing. "
            'Install it: pip install "vocseg[import]".'
        ) from None
    content = read_lists(path, _LISTS, "Pass COCO's instances JSON.")
    try:
        return _annotations(content, path, list(folders) or _image_folders(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} has an invalid record: {type(error).__name__} {shown(error, 120)}. Export it again."
        ) from error


def _annotations(content: dict[str, Any], path: Path, folders: Sequence[Path]) -> Annotations:
    found = Annotations()
    for category in content["categories"]:
        if found.labels.setdefault(category["id"], str(category["name"])) != str(category["name"]):
            raise UserError(f"{path}: two categories have the id {category['id']}. Give each its own.")
    records = defaultdict[Any, list[dict[str, Any]]](list)
    for record in content["annotations"]:
        records[record["image_id"]].append(record)
    for image in content["images"]:
        name = image_name(image["file_name"], path)
        shapes = _shapes(records.pop(image["id"], []), str(name), path, found)
        file = find_image(name, folders)
        if file is None:
            found.missing.append(name.as_posix())
            continue
        size = (image.get("width"), image.get("height"))
        found.images.append(AnnotatedImage(name.with_suffix("").as_posix(), path, file, size, shapes))
    if stray := [f"image_id {key}" for key, group in records.items() for _ in group]:
        found.notes[_STRAY] += stray
    return found


def _image_folders(path: Path) -> list[Path]:
    """Folders where exporters put the images of a JSON."""
    part = path.stem.removeprefix("instances_")
    tops = [path.parent.parent, path.parent] if path.parent.name == "annotations" else [path.parent]
    return [folder for top in tops for folder in (top / "images" / part, top / part, top / "images", top)]


def _shapes(records: list[dict[str, Any]], name: str, path: Path, found: Annotations) -> tuple[Shape, ...]:
    shapes = []
    for record in records:
        where = f"{path}: the annotation {shown(record.get('id'))} of '{shown(name)}'"
        label = found.labels[record["category_id"]]
        region, box = record.get("segmentation"), record.get("bbox")
        polygons = [each for each in region if len(each) >= 6] if isinstance(region, list) else []
        if isinstance(region, dict):
            draw = partial(_run_lengths, region, where=where)
        elif polygons:
            draw = partial(_polygons, polygons, where=where)
        elif isinstance(box, list) and len(box) == 4:
            found.notes[_BOX].append(name)
            shapes.append(Shape(None, partial(_box, box, where=where), below=True))
            continue
        else:
            found.notes[_NOTHING].append(name)
            continue
        crowd = bool(record.get("iscrowd"))
        found.notes[_CROWD] += [name] if crowd else []
        shapes.append(Shape(None if crowd else label, draw, below=crowd))
    return tuple(shapes)


def _polygons(polygons: list[Any], width: int, height: int, where: str) -> Bools:
    """The union of polygons."""
    from pycocotools import mask

    flat = [coordinates(each, where).reshape(-1).tolist() for each in polygons]
    return np.asarray(mask.decode(mask.merge(mask.frPyObjects(flat, height, width))), bool)


def _box(box: list[Any], width: int, height: int, where: str) -> Bools:
    """All pixels that intersect a box."""
    (x, y), (w, h) = coordinates(box, where)
    pixels = np.zeros((height, width), bool)
    rows, columns = (slice(max(math.floor(a), 0), max(math.ceil(a + b), 0)) for a, b in ((y, h), (x, w)))
    pixels[rows, columns] = True
    return pixels


def _run_lengths(region: dict[str, Any], width: int, height: int, where: str) -> Bools:
    """The pixels of an RLE, compressed or not."""
    runs = _runs(region.get("counts"))
    # pycocotools writes beyond its memory, or returns uninitialised pixels, if the runs do not fit.
    if region.get("size") != [height, width] or sum(runs) != width * height or min(runs) < 0:
        raise UserError(
            f"{where} has an invalid RLE: its size is not [{height}, {width}], or its runs do not add up to "
            "that many pixels. Export the annotations again."
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _runs(counts: Any) -> list[int]:
    """Run lengths from a list, or from COCO's string: differences in 5 bits per character; [-1]: invalid."""
    if isinstance(counts, list) and counts and all(type(run) is int for run in counts):
        return counts
    if not isinstance(counts, str) or not all("0" <= char <= "o" for char in counts):
        return [-1]
    runs: list[int] = []
    value = shift = 0
    for char in counts:
        bits = ord(char) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs if runs and shift == 0 else [-1]
