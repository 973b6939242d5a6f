"""Synthetic data set in VOC's layout.

Every image shows one to four objects of the twenty classes, at any scale, position and angle, some behind
others, on a cluttered background. The masks are palette PNGs with an ignored border round each object.
"""

import colorsys
import json
import math
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image

from vocseg.constants import CLASSES, IGNORE_INDEX
from vocseg.data.image_io import Bytes, save_mask
from vocseg.data.voc import find, image_path, mask_path, split_list
from vocseg.errors import UserError
from vocseg.utils.progress import follow

Point = tuple[float, float]
Texture = Literal["plain", "stripes", "bars", "checks", "dots", "rings"]


@dataclass(frozen=True)
class Silhouette:
    """Shape of one class: hue in degrees, texture, filled outlines and holes.

    Coordinates run from -1 to 1, x to the right and y down.
    """

    hue: int
    texture: Texture
    parts: tuple[list[Point], ...]
    holes: tuple[list[Point], ...] = ()


def _ellipse(x: float, y: float, rx: float, ry: float | None = None) -> list[Point]:
    ry = rx if ry is None else ry
    turns = [2 * math.pi * k / 36 for k in range(36)]
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


# Classes with similar hues differ in outline and texture, so that colour alone does not distinguish them.
SILHOUETTES: dict[str, Silhouette] = {
    "aeroplane": Silhouette(210, "plain", (
        _ellipse(0, 0, 1, 0.16), [(-0.1, -0.1), (0.3, -0.1), (-0.25, -0.95), (-0.45, -0.95)],
        [(-0.1, 0.1), (0.3, 0.1), (-0.25, 0.95), (-0.45, 0.95)], [(-1, -0.4), (-0.8, -0.4), (-0.6, 0), (-0.9, 0)])),
    "bicycle": Silhouette(0, "plain", (
        _ellipse(-0.55, 0.3, 0.45), _ellipse(0.55, 0.3, 0.45),
        [(-0.6, 0.35), (-0.2, -0.4), (0.45, -0.4), (0.6, 0.3), (0.5, 0.3), (0.35, -0.28), (-0.15, -0.28), (-0.45, 0.35)]),
        (_ellipse(-0.55, 0.3, 0.28), _ellipse(0.55, 0.3, 0.28))),
    "bird": Silhouette(30, "stripes", (
        _ellipse(0, 0.1, 0.6, 0.35), _ellipse(0.6, -0.25, 0.24), [(0.8, -0.32), (1, -0.22), (0.8, -0.14)],
        [(-0.5, 0), (-1, -0.25), (-1, 0.15), (-0.5, 0.3)], [(0.1, 0), (-0.35, -0.9), (-0.4, 0)])),
    "boat": Silhouette(50, "bars", (
        [(-1, 0.3), (1, 0.3), (0.65, 0.8), (-0.65, 0.8)], _box(-0.05, -0.9, 0.05, 0.3),
        [(0.1, -0.85), (0.8, 0.15), (0.1, 0.15)], [(-0.1, -0.6), (-0.6, 0.15), (-0.1, 0.15)])),
    "bottle": Silhouette(140, "plain", (
        _box(-0.14, -1, 0.14, -0.4), [(-0.14, -0.5), (0.14, -0.5), (0.36, -0.1), (0.36, 1), (-0.36, 1), (-0.36, -0.1)])),
    "bus": Silhouette(0, "bars", (
        _box(-0.95, -0.6, 0.95, 0.5), _ellipse(-0.5, 0.5, 0.22), _ellipse(0.5, 0.5, 0.22))),
    "car": Silhouette(240, "stripes", (
        [(-1, 0), (-0.6, -0.05), (-0.35, -0.45), (0.35, -0.45), (0.65, -0.05), (1, 0.05), (1, 0.4), (-1, 0.4)],
        _ellipse(-0.55, 0.4, 0.24), _ellipse(0.55, 0.4, 0.24))),
    "cat": Silhouette(30, "dots", (
        _ellipse(0, 0.35, 0.5, 0.6), _ellipse(0, -0.4, 0.4, 0.35),
        [(-0.4, -0.4), (-0.38, -1), (-0.05, -0.65)], [(0.4, -0.4), (0.38, -1), (0.05, -0.65)])),
    "chair": Silhouette(180, "bars", (
        _box(-0.5, -1, -0.25, 1), _box(-0.5, 0, 0.55, 0.25), _box(0.35, 0.2, 0.55, 1))),
    "cow": Silhouette(320, "dots", (
        _box(-0.7, -0.35, 0.6, 0.3), _box(-0.65, 0.2, -0.4, 0.85), _box(0.3, 0.2, 0.55, 0.85),
        _ellipse(0.75, -0.35, 0.27, 0.33), [(0.55, -0.6), (0.5, -0.95), (0.75, -0.65)])),
    "diningtable": Silhouette(20, "checks", (
        _ellipse(0, -0.3, 1, 0.3), _box(-0.12, -0.1, 0.12, 0.8), _box(-0.5, 0.7, 0.5, 0.9))),
    "dog": Silhouette(290, "plain", (
        _box(-0.6, -0.15, 0.45, 0.3), _box(-0.6, 0.2, -0.4, 0.85), _box(0.25, 0.2, 0.45, 0.85),
        [(-0.55, -0.1), (-0.95, -0.65), (-0.85, -0.7), (-0.4, -0.1)],
        _ellipse(0.55, -0.35, 0.28), [(0.6, -0.45), (1, -0.35), (1, -0.15), (0.6, -0.1)])),
    "horse": Silhouette(265, "stripes", (
        _ellipse(-0.1, 0, 0.65, 0.3), _box(-0.6, 0.1, -0.45, 1), _box(0.2, 0.1, 0.35, 1),
        [(0.2, -0.05), (0.55, -0.95), (0.75, -0.85), (0.55, 0.1)], [(0.5, -0.95), (1, -0.6), (0.9, -0.45), (0.5, -0.6)])),
    "motorbike": Silhouette(60, "checks", (
        _ellipse(-0.6, 0.35, 0.38), _ellipse(0.6, 0.35, 0.38),
        [(-0.7, 0.2), (-0.5, -0.3), (0.2, -0.1), (0.4, -0.6), (0.6, -0.6), (0.65, 0.3), (0, 0.45)])),
    "person": Silhouette(340, "bars", (
        _ellipse(0, -0.75, 0.22, 0.25), [(-0.4, -0.5), (0.4, -0.5), (0.3, 0.25), (-0.3, 0.25)],
        _box(-0.3, 0.2, -0.05, 1), _box(0.05, 0.2, 0.3, 1))),
    "pottedplant": Silhouette(110, "dots", (
        [(-0.4, 0.3), (0.4, 0.3), (0.28, 1), (-0.28, 1)], _ellipse(-0.35, -0.1, 0.4, 0.25),
        _ellipse(0.35, -0.1, 0.4, 0.25), _ellipse(0, -0.5, 0.3, 0.5), _box(-0.06, -0.2, 0.06, 0.4))),
    "sheep": Silhouette(85, "rings", (
        _ellipse(-0.3, -0.05, 0.45), _ellipse(0.2, -0.05, 0.45), _ellipse(-0.05, -0.25, 0.45), _ellipse(0.75, -0.1, 0.24, 0.3),
        _box(-0.45, 0.2, -0.25, 0.8), _box(0.15, 0.2, 0.35, 0.8))),
    "sofa": Silhouette(180, "checks", (
        _box(-0.8, -0.55, 0.8, 0.2), _box(-1, -0.1, -0.65, 0.6), _box(0.65, -0.1, 1, 0.6), _box(-0.8, 0.1, 0.8, 0.55))),
    "train": Silhouette(140, "stripes", (
        [(-0.45, 1), (-0.45, -0.55), (-0.25, -0.9), (0.25, -0.9), (0.45, -0.55), (0.45, 1)],)),
    "tvmonitor": Silhouette(225, "rings", (
        _box(-0.9, -0.7, 0.9, 0.45), _box(-0.1, 0.4, 0.1, 0.75), _box(-0.45, 0.7, 0.45, 0.85))),
}  # fmt: skip

Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float64]

_SIZES = (*((500, 375),) * 3, (375, 500), (500, 333), (333, 500), (500, 281), (500, 400))  # W, H


def draw_scene(random: np.random.Generator, labels: list[int]) -> tuple[Bytes, Bytes]:
    """Draw an image uint8 `[H,W,3]` RGB and its mask uint8 `[H,W]` with 255 round each object.

    The later ones of the labels 1..20 are in front.
    """
    width, height = _SIZES[random.integers(len(_SIZES))]
    canvas = _background(random, width, height)
    mask = np.zeros((height, width), np.uint8)
    for label in labels:
        _place(random, canvas, mask, label)
    light = cv2.resize(random.uniform(0.75, 1.2, (2, 2)).astype(np.float32), (width, height))
    noise = random.normal(0, random.uniform(3, 10), canvas.shape).astype(np.float32)
    canvas = cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.4, 1.0)) * light[..., None] + noise
    return canvas.clip(0, 255).astype(np.uint8), mask


def _background(random: np.random.Generator, width: int, height: int) -> Floats:
    """Smooth background in muted colours, with random lines and polygons."""
    shape = int(random.integers(2, 6)), int(random.integers(2, 6)), 3
    grain = random.uniform(60, 190, shape).astype(np.float32)
    canvas = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = canvas * 0.6 + canvas.mean(2, keepdims=True) * 0.4
    for _ in range(int(random.integers(5, 14))):
        colour = _rgb(random.uniform(0, 360), random.uniform(0.1, 0.8), random.uniform(0.3, 0.9))
        centre = random.uniform(0, (width, height))
        reach = random.uniform(8, 60)
        corners = int(random.integers(2, 5))  # 2: a line
        points = (centre + random.uniform(-reach, reach, (corners, 2))).astype(np.int32)
        if corners == 2:
            width_of_line = int(random.integers(1, 8))
            cv2.line(canvas, points[0].tolist(), points[1].tolist(), colour, width_of_line, cv2.LINE_AA)
        else:
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA)
    ground: Floats = canvas.astype(np.float32)
    return ground


def _place(random: np.random.Generator, canvas: Floats, mask: Bytes, label: int) -> None:
    silhouette = SILHOUETTES[CLASSES[label]]
    scale = min(mask.shape) * random.uniform(0.2, 0.5)
    angle = np.deg2rad(random.normal(0, 20))
    stretch = random.uniform(0.85, 1.18) * np.array([random.choice([-1, 1]), 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * stretch * scale
    centre = random.uniform(0.12, 0.88, 2) * mask.shape[::-1]
    shape = _fill(silhouette, turn, centre, mask.shape)
    border = cv2.morphologyEx(shape, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    rows, columns = np.nonzero(shape)
    offsets = np.stack([columns, rows]) - centre[:, None]
    canvas[rows, columns] = _texture(random, silhouette, turn, offsets)
    mask[rows, columns] = label
    mask[border] = IGNORE_INDEX


def _fill(silhouette: Silhouette, turn: Plane, centre: Plane, size: tuple[int, ...]) -> Bytes:
    """Pixels of the object as 1 in `[H,W]`."""
    shape = np.zeros(size, np.uint8)
    for value, outlines in ((1, silhouette.parts), (0, silhouette.holes)):
        for outline in outlines:
            points = np.asarray(outline) @ turn.T + centre
            cv2.fillPoly(shape, [np.round(points * 16).astype(np.int32)], value, shift=4)
    return shape


def _texture(random: np.random.Generator, silhouette: Silhouette, turn: Plane, offsets: Plane) -> Floats:
    """Colours `[K,3]` of the class, RGB 0..255, at pixels `[2,K]` (x, y from the object's centre)."""
    hue = silhouette.hue + random.normal(0, 9)
    base = np.array(_rgb(hue, random.uniform(0.55, 0.95), random.uniform(0.6, 0.95)), np.float32)
    accent = base * random.uniform(0.25, 0.5)
    u, v = np.linalg.inv(turn) @ offsets * random.uniform(0.85, 1.2)
    colours: Floats = np.where(_PATTERNS[silhouette.texture](u, v)[:, None], accent, base).astype(np.float32)
    return colours


_PATTERNS: dict[Texture, Callable[[Plane, Plane], npt.NDArray[np.bool_]]] = {
    "plain": lambda u, v: np.zeros(u.shape, bool),
    "stripes": lambda u, v: np.sin(v * 18) > 0.3,
    "bars": lambda u, v: np.sin(u * 18) > 0.3,
    "checks": lambda u, v: (np.sin(u * 12) > 0) ^ (np.sin(v * 12) > 0),
    "dots": lambda u, v: np.sin(u * 16) * np.sin(v * 16) > 0.45,
    "rings": lambda u, v: np.sin(np.hypot(u, v) * 22) > 0.2,
}  # where the accent colour goes, in the object's own coordinates


def _rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return red * 255, green * 255, blue * 255


_MARKER = "sample.json"
_ROOT = Path("data/sample")  # as in the recipe `demo`


def write_sample(
    root: Path = _ROOT,
    train: PositiveInt = 320,
    val: PositiveInt = 80,
    seed: NonNegativeInt = 0,
    progress: bool = True,
) -> Path:
    """Write a synthetic data set in VOC's layout, the same bytes for the same seed.

    Args:
        root: Folder in which `VOCdevkit/VOC2012` is written, completely or not at all.
        train: Number of training images.
        val: Number of validation images.
        seed: Any integer from 0.
        progress: Show a progress bar.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If the folder is a file or holds another data set.
    """
    settings = json.dumps({"made_by": "vocseg sample", "train": train, "val": val, "seed": seed}) + "\n"
    voc = root / "VOCdevkit" / "VOC2012"
    if (voc / _MARKER).is_file() and (voc / _MARKER).read_text() == settings:
        print(f"the sample exists already: {voc}")
        return voc
    if voc.exists() or find(root) is not None or root.is_file():
        raise UserError(f"--root {root} is a file, or holds another data set: give another folder")
    part = root / "VOCdevkit" / ".VOC2012.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write_all(part, {"train": train, "val": val}, seed, progress)
        (part / _MARKER).write_text(settings)
        part.rename(voc)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"wrote {train} train and {val} val images with masks to {voc}")
    own = "" if root == _ROOT else f" --data.root {shlex.quote(str(root))}"
    print(f"next     python -m vocseg fit --config demo{own}")
    return voc


def _write_all(voc: Path, counts: dict[str, int], seed: int, progress: bool) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    ids: dict[str, list[str]] = {"train": [], "val": []}
    for number, split in enumerate(counts):
        for k in follow(range(counts[split]), f"drawing {split}", counts[split], progress):
            id = f"{2007 + number}_{k + 1:06d}"
            image, mask = draw_scene(np.random.default_rng([seed, number, k]), _classes_of(seed, number, k))
            Image.fromarray(image).save(image_path(voc, id), quality=90)
            save_mask(mask, mask_path(voc, id, split))
            ids[split].append(id)
    ids["trainval"] = sorted(ids["train"] + ids["val"])
    for split, names in ids.items():
        split_list(voc, split).write_text("\n".join(names) + "\n")


def _classes_of(seed: int, split: int, k: int) -> list[int]:
    """One to four labels for image k, dealt from shuffled decks, so that no class is rare."""
    dealt = sum(1 + j % 4 for j in range(k))
    deals = [divmod(card, 20) for card in range(dealt, dealt + 1 + k % 4)]
    decks = {deck: np.random.default_rng([seed, split, deck, 7]).permutation(20) for deck, _ in deals}
    return [int(decks[deck][place]) + 1 for deck, place in deals]
