"""Line charts and reliability diagrams as SVG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vocseg.metrics.calibration import Bin, Calibration
from vocseg.visualization.tables import confidence_text
from vocseg.visualization.tables import percent as as_percent

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_MARKED = 40  # largest number of points with dots
_ROOM = 40  # height of the columns with the fraction of pixels


class Tick(NamedTuple):
    """A position on an axis in SVG units, and its label."""

    place: float
    label: str


class Line(NamedTuple):
    """A curve: name, style (`train` dashed, `val` solid), places and dots in SVG units, points."""

    name: str
    kind: str
    places: Points
    dots: Points
    points: Points

    @property
    def path(self) -> str:
        """Path of SVG."""
        return "M" + " L".join(f"{x} {y}" for x, y in self.places)


@dataclass(frozen=True)
class Chart:
    """Curves over epochs; `percent`: values are fractions, `marked`: position of the best epoch."""

    title: str
    summary: str
    percent: bool
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    marked: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def epoch_range(series: Iterable[Points]) -> tuple[float, float]:
    """Ends of an axis: from 1, or from 0 if there are points before epoch 1."""
    xs = [x for points in series for x, _ in points]
    return 0.0 if min(xs) < 1 else 1.0, float(max(math.ceil(max(xs)), 2))


def chart(
    title: str,
    series: Mapping[str, Points],
    percent: bool,
    best: float | None = None,
    epochs: tuple[float, float] | None = None,
) -> Chart | None:
    """A chart of points `(epoch, value)` by name, or None if there are none.

    `best`: epoch to mark. `epochs`: ends of the horizontal axis; None: `epoch_range` of the points.
    """
    known = {name: points for name, points in series.items() if points}
    if not known:
        return None
    xs = [x for points in known.values() for x, _ in points]
    ys = [y for points in known.values() for _, y in points]
    low, high = epochs or epoch_range(known.values())
    steps = _round_steps(min(ys), max(ys)) if max(ys) > min(ys) else _round_steps(0.0, 2 * max(ys) or 1.0)
    bottom, top = steps[0], steps[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (x - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)
        down = HEIGHT - _BOTTOM - (y - bottom) / (top - bottom) * (HEIGHT - _TOP - _BOTTOM)
        return round(right, 1), round(down, 1)

    def value(y: float) -> str:
        return f"{as_percent(y)} %" if percent else f"{y:.4g}"

    lines = tuple(_line(name, points, [place(*each) for each in points]) for name, points in known.items())
    across = tuple(Tick(place(x, bottom)[0], f"{x:g}") for x in _epoch_ticks(low, high))
    up = tuple(Tick(place(low, y)[1], _label(y, percent, steps)) for y in steps)
    mark = None if best is None else place(best, bottom)[0]
    parts = (f"{name} from {value(each[0][1])} to {value(each[-1][1])}" for name, each in known.items())
    summary = f"{title} over {max(xs):g} epochs: {'; '.join(parts)}"
    return Chart(title, summary, percent, lines, across, up, mark)


def _line(name: str, points: Points, places: Points) -> Line:
    dotted = len(places) <= _MARKED and (name in ("train", "val") or len(places) == 1)
    kind = "train" if name.rpartition(" ")[2] == "train" else "val"  # of several runs: `NAME train`
    return Line(name, kind, places, places if dotted else (), points)


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
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return f"{value:.3g}"


class Column(NamedTuple):
    """A bin in SVG units: `bar` is its accuracy, `gap` to its confidence, `share` of the pixels."""

    left: float
    width: float
    bar: tuple[float, float]
    gap: tuple[float, float]
    share: tuple[float, float]
    overconfident: bool
    words: str


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram with its axes; `ticks`: horizontal and vertical position, label."""

    error: float
    sentence: str
    where: str
    columns: tuple[Column, ...]
    ticks: tuple[tuple[float, float, str], ...]
    width: int = 432
    height: int = 330
    left: int = 52
    right: int = 416
    top: int = 10
    bottom: int = 230
    floor: int = 286


def reliability(known: Calibration) -> Reliability | None:
    """The diagram of a calibration; None if no pixel is labelled."""
    error, confidence, accuracy = known.error, known.confidence, known.accuracy
    if error is None or confidence is None or accuracy is None:
        return None
    pixels = [each.pixels for each in known.bins]
    columns = (_column(each, sum(pixels), max(pixels)) for each in known.bins)
    ticks = tuple((_reliability_x(k / 5), _reliability_y(k / 5), f"{20 * k}") for k in range(6))
    return Reliability(
        error,
        confidence_text(confidence, accuracy),
        known.protocol.pixels,
        tuple(column for column in columns if column is not None),
        ticks,
    )


def _column(each: Bin, total: int, most: int) -> Column | None:
    if each.confidence is None or each.accuracy is None:
        return None
    accuracy, confidence, low = (
        _reliability_y(each.accuracy),
        _reliability_y(each.confidence),
        _reliability_x(each.low),
    )
    tall = max(1.0, round(_ROOM * each.pixels / most, 1))
    words = (
        f"confidence {as_percent(each.low, 0)} to {as_percent(each.high, 0)} %: mean confidence "
        f"{as_percent(each.confidence)} %, accuracy {as_percent(each.accuracy)} %, "
        f"{as_percent(each.pixels / total)} % of the pixels"
    )
    return Column(
        left=low + 0.5,
        width=round(_reliability_x(each.high) - low - 1, 1),
        bar=(accuracy, round(Reliability.bottom - accuracy, 1)),
        gap=(min(accuracy, confidence), round(abs(accuracy - confidence), 1)),
        share=(round(Reliability.floor - tall, 1), tall),
        overconfident=each.confidence > each.accuracy,
        words=words,
    )


def _reliability_x(share: float) -> float:
    return round(Reliability.left + share * (Reliability.right - Reliability.left), 1)


def _reliability_y(share: float) -> float:
    return round(Reliability.bottom - share * (Reliability.bottom - Reliability.top), 1)
