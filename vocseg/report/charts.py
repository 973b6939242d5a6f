"""Line charts of loss and mean IoU by epoch as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vocseg.report.load_run import LoggedCurves
from vocseg.visualization.tables import percent as as_percent

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_MARKED = 40  # largest number of points with dots
_MEASURES = (("loss", "loss", False), ("mean IoU, %", "miou", True))
# Safe for colour blindness; the first two are those of val and train of a single run.
COLOURS = ("#0b5cad", "#b8480b", "#008066", "#a3478c", "#8a6d00", "#3d3d3d")


class Line(NamedTuple):
    """A curve of a stage, `train` (dashed) or `val`: places in SVG units, points `(epoch, value)`."""

    name: str
    stage: str
    colour: str
    places: Points
    points: Points


@dataclass(frozen=True)
class Chart:
    """Curves over epochs; `percent`: values are fractions, `marked`: position of the best epoch."""

    title: str
    summary: str
    percent: bool
    lines: tuple[Line, ...]
    across: dict[float, str]  # labels of the horizontal axis by position
    up: dict[float, str]  # labels of the vertical axis
    marked: float | None
    dotted: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def charts_of(runs: Mapping[str, LoggedCurves]) -> list[Chart]:
    """Loss and mean IoU of training and validation of runs by name, as far as they were logged.

    The best epoch of a single run is marked.
    """
    best = next(iter(runs.values())).best_epoch() if len(runs) == 1 else None
    found = []
    for title, measure, percent in _MEASURES:
        series = {
            (name, stage): curves.series[f"{measure}/{stage}"]
            for name, curves in runs.items()
            for stage in ("train", "val")
            if curves.series.get(f"{measure}/{stage}")
        }
        if series:
            found.append(_chart(title, series, percent, best))
    return found


def _chart(title: str, series: Mapping[tuple[str, str], Points], percent: bool, best: float | None) -> Chart:
    """A chart of points `(epoch, value)` by name of the run and stage."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    low, high = 0.0 if min(xs) < 1 else 1.0, float(max(math.ceil(max(xs)), 2))
    steps = _round_steps(min(ys), max(ys)) if max(ys) > min(ys) else _round_steps(0.0, 2 * max(ys) or 1.0)
    bottom, top = steps[0], steps[-1]
    names = list(dict.fromkeys(name for name, _ in series))

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (x - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)
        down = HEIGHT - _BOTTOM - (y - bottom) / (top - bottom) * (HEIGHT - _TOP - _BOTTOM)
        return round(right, 1), round(down, 1)

    def line(name: str, stage: str, points: Points) -> Line:
        colour = COLOURS[names.index(name) if len(names) > 1 else stage == "train"]
        return Line(f"{name} {stage}".strip(), stage, colour, [place(*each) for each in points], points)

    lines = tuple(line(*key, points) for key, points in series.items())
    last = lines[-1].points[-1][1]
    return Chart(
        title,
        f"{title} over {max(xs):g} epochs, {lines[-1].name} at last {100 * last if percent else last:.4g}",
        percent,
        lines,
        {place(x, bottom)[0]: f"{x:g}" for x in _epoch_ticks(low, high)},
        {place(low, y)[1]: _label(y, percent, steps) for y in steps},
        None if best is None else place(best, bottom)[0],
        len(names) == 1 and len(xs) <= len(lines) * _MARKED,
    )


def _round_steps(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values that enclose a range."""
    raw = (high - low) / wanted
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [k * step for k in range(first, last + 1)]


def _epoch_ticks(low: float, high: float) -> list[float]:
    step = next(k * 10**p for p in range(9) for k in (1, 2, 5) if (high - low) / (k * 10**p) <= 8)
    ticks = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [low, *(k for k in ticks if k - low > step / 2)] if low == 1 else [float(k) for k in ticks]


def _label(value: float, percent: bool, steps: Sequence[float]) -> str:
    if percent:
        return as_percent(value, 0 if steps[1] - steps[0] > 0.0099 else 1)
    return f"{value:.3g}"
