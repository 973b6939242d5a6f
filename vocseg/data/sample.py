"""A synthetic set in the exact layout of VOC 2012: for the demo, the tests and the README.

Every image shows one to four objects of the twenty classes, at any scale, position and angle, some behind
others, on a cluttered ground. The masks are palette PNGs with a void border round each object, as in VOC.
"""

import colorsys
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.data.silhouettes import SILHOUETTES, Point, Silhouette, Texture
from vocseg.errors import UserError
from vocseg.voc import CLASSES, IGNORE_INDEX, PALETTE, find, image_path, mask_path, split_list

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float64]

_SIZES = (
    (500, 375),
    (500, 375),
    (500, 375),
    (375, 500),
    (500, 333),
    (333, 500),
    (500, 281),
    (500, 400),
)  # W, H
_MARKER = "sample.json"


def write_sample(
    root: Path = Path("data/sample"), train: int = 320, val: int = 80, seed: int = 0, progress: bool = True
) -> Path:
    """Write a synthetic data set in VOC's layout, the same bytes for the same seed.

    Args:
        root: The folder to hold `VOCdevkit/VOC2012`; written whole or not at all.
        train: Number of training images.
        val: Number of validation images.
        seed: Any whole number from 0.
        progress: Show a progress bar.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If the counts or the seed make no sense, or the folder holds another set.
    """
    if train < 1 or val < 1 or seed < 0:
        raise UserError(
            f"a sample needs --train and --val from 1 and --seed from 0, not {train}, {val} and {seed}"
        )
    settings = {"made_by": "vocseg sample", "train": train, "val": val, "seed": seed}
    voc = root / "VOCdevkit" / "VOC2012"
    if _is_there(voc, settings):
        print(f"the sample is there already: {voc}")
        return voc
    part = root / "VOCdevkit" / ".VOC2012.part"
    shutil.rmtree(part, ignore_errors=True)
    _write_all(part, {"train": train, "val": val}, seed, progress)
    (part / _MARKER).write_text(json.dumps(settings) + "\n")
    part.rename(voc)
    print(f"wrote {train} train and {val} val images with masks to {voc}")
    return voc


def _is_there(voc: Path, settings: dict[str, object]) -> bool:
    """Whether this very sample stands in the folder; anything else in its place is refused."""
    if not voc.exists() and find(voc.parent.parent) is None:
        return False
    marker = voc / _MARKER
    found = json.loads(marker.read_text()) if marker.is_file() else "a set that is not a sample"
    if found != settings:
        raise UserError(f"{voc.parent.parent} holds {found} already: name another folder with --root")
    return True


def _write_all(voc: Path, counts: dict[str, int], seed: int, progress: bool) -> None:
    from rich.progress import track

    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    ids: dict[str, list[str]] = {"train": [], "val": []}
    for number, split in enumerate(counts):
        for k in track(range(counts[split]), f"drawing {split}", disable=not progress, transient=True):
            id = f"{2007 + number}_{k + 1:06d}"
            image, mask = draw_scene(np.random.default_rng([seed, number, k]), _classes_of(seed, number, k))
            Image.fromarray(image).save(image_path(voc, id), quality=90)
            _save_mask(mask, mask_path(voc, id, split))
            ids[split].append(id)
    ids["trainval"] = sorted(ids["train"] + ids["val"])
    for split, names in ids.items():
        split_list(voc, split).write_text("\n".join(names) + "\n")


def _save_mask(mask: Bytes, path: Path) -> None:
    picture = Image.fromarray(mask).convert("P")
    picture.putpalette([channel for colour in PALETTE for channel in colour])
    picture.save(path)


def _classes_of(seed: int, split: int, k: int) -> list[int]:
    """One to four labels for image k: dealt from shuffled decks, so that no class is rare."""
    dealt = sum(1 + j % 4 for j in range(k))
    count = 1 + k % 4
    decks = range(dealt // 20, (dealt + count - 1) // 20 + 1)
    cards = np.concatenate([np.random.default_rng([seed, split, deck, 7]).permutation(20) for deck in decks])
    start = dealt - decks[0] * 20
    return [int(card) + 1 for card in cards[start : start + count]]


def draw_scene(random: np.random.Generator, labels: list[int]) -> tuple[Bytes, Bytes]:
    """One image and its mask.

    Args:
        random: Where every choice comes from.
        labels: Classes 1..20 to place, the later ones in front.

    Returns:
        Image uint8 `[H,W,3]` RGB and mask uint8 `[H,W]` with 255 round each object.
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
    """A soft ground of two or three muted colours with shapes strewn over it that are no object."""
    grain = random.uniform(60, 190, (int(random.integers(2, 6)), int(random.integers(2, 6)), 3)).astype(
        np.float32
    )
    canvas = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = canvas * 0.6 + canvas.mean(2, keepdims=True) * 0.4
    for _ in range(int(random.integers(5, 14))):
        colour = _rgb(
            float(random.uniform(0, 360)), float(random.uniform(0.1, 0.8)), float(random.uniform(0.3, 0.9))
        )
        centre = random.uniform(0, (width, height))
        reach = random.uniform(8, 60)
        corners = int(random.integers(2, 5))  # 2: a line
        points = (centre + random.uniform(-reach, reach, (corners, 2))).astype(np.int32)
        if corners == 2:
            cv2.line(
                canvas,
                points[0].tolist(),
                points[1].tolist(),
                colour,
                int(random.integers(1, 8)),
                cv2.LINE_AA,
            )
        else:
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA)
    ground: Floats = canvas.astype(np.float32)
    return ground


def _place(random: np.random.Generator, canvas: Floats, mask: Bytes, label: int) -> None:
    """Draw one object over what is there, and its void border into the mask."""
    look = SILHOUETTES[CLASSES[label]]
    scale = min(mask.shape) * random.uniform(0.2, 0.5)
    angle = np.deg2rad(random.normal(0, 20))
    stretch = random.uniform(0.85, 1.18) * np.array([random.choice([-1, 1]), 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * stretch * scale
    centre = random.uniform(0.12, 0.88, 2) * mask.shape[::-1]
    shape = _fill(look, turn, centre, mask.shape)
    border = cv2.morphologyEx(shape, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    rows, columns = np.nonzero(shape)
    canvas[rows, columns] = _texture(random, look, turn, np.stack([columns, rows]) - centre[:, None])
    mask[rows, columns] = label
    mask[border] = IGNORE_INDEX


def _fill(look: Silhouette, turn: Plane, centre: Plane, size: tuple[int, ...]) -> Bytes:
    """The object's pixels as 1 in `[H,W]`."""
    shape = np.zeros(size, np.uint8)

    def paint(outline: list[Point], value: int) -> None:
        points = np.asarray(outline) @ turn.T + centre
        cv2.fillPoly(shape, [np.round(points * 16).astype(np.int32)], value, shift=4)

    for outline in look.parts:
        paint(outline, 1)
    for outline in look.holes:
        paint(outline, 0)
    return shape


def _texture(random: np.random.Generator, look: Silhouette, turn: Plane, offsets: Plane) -> Floats:
    """The class's two colours at pixels `[2,K]` (x, y from the object's centre), RGB 0..255 `[K,3]`."""
    hue, saturation, value = (
        look.hue + random.normal(0, 9),
        random.uniform(0.55, 0.95),
        random.uniform(0.6, 0.95),
    )
    base = np.array(_rgb(hue, saturation, value), np.float32)
    accent = base * random.uniform(0.25, 0.5)
    u, v = np.linalg.inv(turn) @ offsets * random.uniform(0.85, 1.2)
    colours: Floats = np.where(_PATTERNS[look.texture](u, v)[:, None], accent, base).astype(np.float32)
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
