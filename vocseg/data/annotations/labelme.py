"""Reader of labelme's annotations: one JSON per image."""

import base64
import io
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

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
from vocseg.data.voc import IMAGE_ENDINGS
from vocseg.errors import UserError, shown

IGNORED = "__ignore__"  # labelme's label of ignored regions
_POLYGONS = ("polygon", "rotation")  # "rotation": rotated rectangles of X-AnyLabeling, a fork

_UNREGIONED = "shapes without an area (points, lines, polygons of two points) are left out"
_ALONE = "images without a JSON are left out (not annotated)"


def read_labelme(folder: Path, folders: Sequence[Path]) -> Annotations:
    """Read a folder of labelme's JSON files, with its sub-folders.

    Args:
        folder: Folder of the JSON files.
        folders: Folders of images that are not at the path given in their JSON.

    Raises:
        UserError: If a file in it is not a labelme annotation.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Pass the folder of labelme's JSON files.")
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder} has no JSON file. Pass the folder of labelme's annotations.")
    found, used = Annotations(), set[Path]()
    for path in paths:
        content = _content(path)
        image = _image(content, path, folder, folders, found)
        if image is not None:
            found.images.append(image)
            used.add(image.file or path)
    ids = {image.id for image in found.images}
    for path in sorted(folder.rglob("*")):
        alone = path.suffix.lower() in IMAGE_ENDINGS and path not in used
        if alone and path.relative_to(folder).with_suffix("").as_posix() not in ids:
            found.notes[_ALONE].append(path.name)
    return found


def _content(path: Path) -> dict[str, Any]:
    otherwise = "It is not a labelme annotation: move it out of the folder."
    return read_lists(path, ["shapes"], otherwise)


def _image(
    content: dict[str, Any], path: Path, folder: Path, folders: Sequence[Path], found: Annotations
) -> AnnotatedImage | None:
    """The image of a JSON; None: its file is missing."""
    name = path.relative_to(folder)
    id = image_name(name.as_posix(), path).with_suffix("").as_posix()
    shapes = tuple(
        shape
        for number, record in enumerate(content["shapes"], 1)
        if (shape := _shape(record, f"{path}: shape {number}", id, found)) is not None
    )
    size = (content.get("imageWidth"), content.get("imageHeight"))
    if content.get("imageData") is not None:
        return AnnotatedImage(id, path, None, size, shapes, partial(_embedded, path))
    expected = image_name(content.get("imagePath"), path)
    beside = path.parent / str(content["imagePath"]).replace("\\", "/")  # may begin with ../
    file = beside if beside.is_file() else find_image(expected, [path.parent, *folders])
    if file is None:
        found.missing.append(expected.as_posix())
        return None
    return AnnotatedImage(id, path, file, size, shapes)


def _embedded(path: Path) -> bytes:
    """Bytes of the image in a JSON."""
    try:
        return base64.b64decode(_content(path)["imageData"], validate=True)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: its imageData is corrupt: {error}. Save it again in labelme.") from error


def _shape(record: Any, where: str, id: str, found: Annotations) -> Shape | None:
    if not isinstance(record, dict) or not isinstance(record.get("label"), str):
        raise UserError(f"{where} has no label: {shown(repr(record), 120)}. Correct it in labelme.")
    label, kind = record["label"], record.get("shape_type", "polygon")
    where = f"{where} ('{shown(label, 40)}', {shown(kind, 20)})"
    points = coordinates(record.get("points", []), where)
    if kind not in (*_POLYGONS, "rectangle", "circle", "mask") or (kind in _POLYGONS and len(points) < 3):
        found.notes[_UNREGIONED].append(id)
        return None
    expected = (2, 4) if kind == "rectangle" else (2,)
    if kind not in _POLYGONS and len(points) not in expected:
        raise UserError(
            f"{where} has {len(points)} points instead of {expected[0]}. Draw it again in labelme."
        )
    if label != IGNORED:
        found.labels[label] = label
    corners = [(float(x), float(y)) for x, y in points]
    if kind == "mask":
        draw = partial(_bitmap, corners, record.get("mask"), where=where)
    else:
        draw = partial(_drawn, kind if len(corners) == 2 else "polygon", corners)
    return Shape(None if label == IGNORED else label, draw)


def _drawn(kind: str, points: list[tuple[float, float]], width: int, height: int) -> Bools:
    """Draw a shape as labelme does: outline and interior."""
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    if kind == "circle":
        (x, y), (at_x, at_y) = points
        radius = math.hypot(x - at_x, y - at_y)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
    elif kind == "rectangle":
        xs, ys = sorted(x for x, _ in points), sorted(y for _, y in points)
        pen.rectangle((xs[0], ys[0], xs[1], ys[1]), fill=1, outline=1)
    else:
        pen.polygon(points, fill=1, outline=1)
    return np.asarray(image, bool)


def _bitmap(points: list[tuple[float, float]], data: Any, width: int, height: int, where: str) -> Bools:
    """Decode a region that is stored as an image of its bounding box."""
    pixels = Image.new("L", (width, height))
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=("PNG",)) as image:
            pixels.paste(image.convert("L"), (int(points[0][0]), int(points[0][1])))  # clipped
    except Exception as error:  # Pillow raises nearly anything on corrupt bytes
        reason = shown(str(error) or type(error).__name__)
        raise UserError(f"{where} has a corrupt mask: {reason}. Draw it again in labelme.") from error
    return np.asarray(pixels, bool)
