"""What the twenty object classes of the synthetic set look like: an outline, a hue and a texture each.

Coordinates run from -1 to 1, x to the right and y down. Neighbours in hue differ in outline and texture, so
that colour alone does not tell the classes apart.
"""

import math
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Texture = Literal["plain", "stripes", "bars", "checks", "dots", "rings"]


@dataclass(frozen=True)
class Silhouette:
    """One class: filled outlines, holes cut out of them, hue in degrees, and the texture inside."""

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
