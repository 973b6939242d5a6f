"""Reliability diagram as SVG."""

from dataclasses import dataclass

WIDTH, HEIGHT = 432, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 416, 10, 230
_FLOOR, _ROOM = 286, 40  # of the small columns of how many pixels there are


@dataclass(frozen=True)
class Bin:
    """Pixels of which the network was about equally sure; without a pixel nothing is known of them.

    Attributes:
        low: Probability of the predicted class from which the bin reaches.
        high: To which.
        share: Of all labelled pixels.
        confidence: Mean probability.
        accuracy: Share of them that are right.
    """

    low: float
    high: float
    share: float
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities mean what they say: expected calibration error, means, place, bins."""

    error: float
    confidence: float
    accuracy: float
    where: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Column:
    """A bin in the picture's units: its bar, the gap to how sure it was, the column of its share."""

    left: float
    width: float
    bar: tuple[float, float]
    gap: tuple[float, float]
    share: tuple[float, float]
    sure: bool
    words: str


@dataclass(frozen=True)
class Reliability:
    """The diagram, its sentence, and where its axes lie."""

    error: float
    sentence: str
    where: str
    columns: tuple[Column, ...]
    ticks: tuple[tuple[float, float, str], ...]  # across, up, label
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM
    floor: int = _FLOOR


def reliability(known: Calibration) -> Reliability:
    """Lay the diagram out.

    Args:
        known: What was counted.
    """
    most = max(each.share for each in known.bins)
    columns = tuple(found for each in known.bins if (found := _column(each, most)) is not None)
    ticks = tuple((_across(k / 5), _up(k / 5), f"{20 * k}") for k in range(6))
    return Reliability(known.error, sentence(known), known.where, columns, ticks)


def sentence(known: Calibration) -> str:
    """Which way it errs."""
    sure, right = f"{100 * known.confidence:.1f}", f"{100 * known.accuracy:.1f}"
    way = "too sure" if known.confidence > known.accuracy else "not sure enough"
    return f"{sure} % sure and {right} % right on average" + ("" if sure == right else f": {way}")


def _column(each: Bin, most: float) -> Column | None:
    if each.confidence is None or each.accuracy is None:
        return None
    right, sure, low = _up(each.accuracy), _up(each.confidence), _across(each.low)
    tall = max(1.0, round(_ROOM * each.share / most, 1))
    words = (
        f"{100 * each.low:.0f} to {100 * each.high:.0f} % sure: {100 * each.accuracy:.1f} % right where "
        f"it is {100 * each.confidence:.1f} % sure on average; {100 * each.share:.1f} % of the pixels"
    )
    return Column(
        left=low + 0.5,
        width=round(_across(each.high) - low - 1, 1),
        bar=(right, round(_BOTTOM - right, 1)),
        gap=(min(right, sure), round(abs(right - sure), 1)),
        share=(round(_FLOOR - tall, 1), tall),
        sure=each.confidence > each.accuracy,
        words=words,
    )


def _across(share: float) -> float:
    return round(_LEFT + share * (_RIGHT - _LEFT), 1)


def _up(share: float) -> float:
    return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)
