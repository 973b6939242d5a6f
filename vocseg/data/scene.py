"""One synthetic scene: objects of VOC's classes on a cluttered ground, with their mask."""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.silhouettes import SILHOUETTES, Point, Silhouette, Texture
from vocseg.voc import CLASSES, IGNORE_INDEX

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
