"""Reliability diagram as SVG."""

from dataclasses import dataclass
from typing import NamedTuple

from vocseg.metrics.calibration import Bin, Calibration
from vocseg.visualization.formatting import percent
from vocseg.visualization.tables import confidence_text

_ROOM = 40  # height of the columns with the fraction of pixels


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
    ticks = tuple((_across(k / 5), _up(k / 5), f"{20 * k}") for k in range(6))
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
    accuracy, confidence, low = _up(each.accuracy), _up(each.confidence), _across(each.low)
    tall = max(1.0, round(_ROOM * each.pixels / most, 1))
    words = (
        f"confidence {percent(each.low, 0)} to {percent(each.high, 0)} %: mean confidence "
        f"{percent(each.confidence)} %, accuracy {percent(each.accuracy)} %, "
        f"{percent(each.pixels / total)} % of the pixels"
    )
    return Column(
        left=low + 0.5,
        width=round(_across(each.high) - low - 1, 1),
        bar=(accuracy, round(Reliability.bottom - accuracy, 1)),
        gap=(min(accuracy, confidence), round(abs(accuracy - confidence), 1)),
        share=(round(Reliability.floor - tall, 1), tall),
        overconfident=each.confidence > each.accuracy,
        words=words,
    )


def _across(share: float) -> float:
    return round(Reliability.left + share * (Reliability.right - Reliability.left), 1)


def _up(share: float) -> float:
    return round(Reliability.bottom - share * (Reliability.bottom - Reliability.top), 1)
