"""Percentages, points and probabilities as text."""


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without its sign; `-` if undefined."""
    return "-" if value is None or value != value else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points with a sign; exactly 0 has none."""
    if value is None:
        return "-"
    return "0.0" if value == 0 else f"{100 * value:+.1f}"


def points_interval(low: float | None, high: float | None) -> str:
    """`[-1.0, +2.0]` in percentage points; `-` if undefined."""
    return "-" if low is None else f"[{points(low)}, {points(high)}]"


def probability(value: float | None) -> str:
    """A probability as a percentage, with limits of 0.1 and 99.9 %."""
    if value is not None and not 0.001 <= value <= 0.999:
        return "> 99.9 %" if value > 0.5 else "< 0.1 %"
    return "-" if value is None else f"{percent(value)} %"


def typographic(text: str) -> str:
    """The same text with true minus signs, and a dash for an undefined value."""
    return "\u2013" if text == "-" else text.replace("-", "\u2212")
