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
    image_size,
    read_lists,
)
from vocseg.errors import UserError, shown

_MOST_BYTES = 4 << 30  # COCO's own training annotations have 450 MB

_LISTS = ("images", "annotations", "categories")

_CROWD = "crowd regions (iscrowd) are ignored (255)"
_BOX = "boxes without a region are ignored (255)"
_NOTHING = "annotations without a region are left out"
_STRAY = "annotations of unknown images are left out"


def read_coco(path: Path, folders: Sequence[Path]) -> Annotations:
    """Read an instances JSON.

    Args:
        path: The file, or a folder with one such file.
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
    path = _json_file(path)
    content = read_lists(path, _MOST_BYTES, _LISTS, "Pass COCO's instances JSON.")
    found = Annotations()
    found.labels.update(_categories(content["categories"], path))
    records = defaultdict[Any, list[dict[str, Any]]](list)
    for record in content["annotations"]:
        _check(record, ("image_id", "category_id"), "an annotation", path)
        records[record["image_id"]].append(record)
    image_folders = list(folders) or _image_folders(path)
    for image in content["images"]:
        _check(image, ("id", "file_name"), "an image", path)
        shapes = _shapes(records.pop(image["id"], []), str(image["file_name"]), path, found)
        name = image_name(image["file_name"], path)
        file = find_image(name, image_folders)
        if file is None:
            found.missing.append(name.as_posix())
            continue
        size = image_size(image.get("width"), image.get("height"), f"{path}: the image '{shown(name)}'")
        found.images.append(AnnotatedImage(name.with_suffix("").as_posix(), path, file, size, shapes))
    if stray := [f"image_id {key}" for key, group in records.items() for _ in group]:
        found.notes[_STRAY] += stray
    return found


def _json_file(path: Path) -> Path:
    """The only JSON file of a folder."""
    if not path.is_dir():
        return path
    found = [*sorted(path.glob("*.json")), *sorted((path / "annotations").glob("*.json"))]
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.relative_to(path).as_posix() for file in found[:6]) or "none"
    raise UserError(
        f"{path} is a folder, but COCO's annotations are a JSON file (found: {shown(names, 200)}). Pass the "
        "training file, and the validation file with --val."
    )


def _image_folders(path: Path) -> list[Path]:
    """Folders where exporters put the images of a JSON."""
    part = path.stem.removeprefix("instances_")
    tops = [path.parent.parent, path.parent] if path.parent.name == "annotations" else [path.parent]
    return [folder for top in tops for folder in (top / "images" / part, top / part, top / "images", top)]


def _check(record: Any, names: tuple[str, ...], what: str, path: Path) -> None:
    for name in names:
        if not isinstance(record, dict) or not isinstance(record.get(name), (int, str)):
            raise UserError(
                f"{path}: {what} has no '{name}': {shown(repr(record), 120)}. Export the annotations again."
            )


def _categories(records: list[Any], path: Path) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for record in records:
        _check(record, ("id", "name"), "a category", path)
        if names.setdefault(record["id"], str(record["name"])) != str(record["name"]):
            raise UserError(f"{path}: two categories have the id {record['id']}. Give each its own.")
    return names


def _shapes(records: list[dict[str, Any]], name: str, path: Path, found: Annotations) -> tuple[Shape, ...]:
    shapes = []
    for record in records:
        where = f"{path}: the annotation {shown(record.get('id'))} of '{shown(name)}'"
        if record["category_id"] not in found.labels:
            raise UserError(
                f"{where} has the category {shown(record['category_id'])}, which is not in the file. "
                "Export the annotations again."
            )
        region, box = record.get("segmentation"), record.get("bbox")
        label = found.labels[record["category_id"]]
        if isinstance(region, list) and not all(isinstance(each, list) for each in region):
            raise UserError(f"{where} has a region that is not a list of polygons. Export it again.")
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
    from pycocotools import mask

    size, counts = region.get("size"), region.get("counts")
    if size != [height, width]:
        raise UserError(
            f"{where} has an RLE of size {shown(size)}, but its image is {width}x{height}: expected "
            f"[{height}, {width}]. Export the annotations again."
        )
    runs = _runs(counts)
    # pycocotools returns uninitialised memory for pixels after the last run.
    if runs is None or min(runs, default=0) < 0 or sum(runs) != width * height:
        raise UserError(
            f"{where} has an invalid RLE: its runs do not add up to {width}x{height} pixels. "
            "Export the annotations again."
        )
    plain = {"size": size, "counts": runs}
    return np.asarray(mask.decode(mask.frPyObjects(plain, height, width)), bool)


def _runs(counts: Any) -> list[int] | None:
    """Run lengths from a list, or from COCO's string: differences in 5 bits per character."""
    if isinstance(counts, list):
        return counts if all(type(run) is int for run in counts) else None
    if not isinstance(counts, str) or not all("0" <= char <= "o" for char in counts):
        return None
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
    return runs if shift == 0 else None
