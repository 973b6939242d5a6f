"""Tables and texts of scores, intervals and comparisons."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vocseg.metrics.aggregate import TRIMAP, WIDTH
from vocseg.metrics.bootstrap import FEWEST_IMAGES, Interval, ScoreIntervals
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.paired_test import Comparison, Difference, ImageChange
from vocseg.metrics.per_image import PerImageConfusion

if TYPE_CHECKING:  # `compare` imports no torch
    from vocseg.metrics.score import Score

MEASURE_NAMES = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    TRIMAP: f"trimap mean IoU ({WIDTH} px)",
}
_CHANGED = 10  # images of a comparison


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


def score_table(score: "Score", title: str) -> Group:
    """IoU of each class in two columns, and the totals."""
    ious = dict(zip(score.classes, map(percent, score.class_iou), strict=True))
    totals = f"mean IoU {percent(score.mean_iou)} %, pixel accuracy {percent(score.pixel_accuracy)} %" + (
        "" if score.loss is None else f", loss {score.loss:.3f}"
    )
    return Group(Text(f"\n{title}: {score.protocol}"), _class_table(ious), Text(totals))


def _class_table(ious: dict[str, str]) -> Table:
    """Names and texts in two columns."""
    table = Table()
    for _ in range(2):
        table.add_column("class")
        table.add_column("IoU %", justify="right", no_wrap=True)
    cells = [(Text(name), Text(text)) for name, text in ious.items()]
    half = (len(cells) + 1) // 2
    for left, right in zip_longest(cells[:half], cells[half:], fillvalue=("", "")):
        table.add_row(*left, *right)
    return table


def resolution_lines(network: "Score", upper_bound: "Score | None") -> Text:
    """The score at input resolution, and the upper bound of the score at original resolution."""
    size = f"{network.protocol.size}x{network.protocol.size}"
    line = f"input resolution (at {network.protocol.views}): mean IoU {percent(network.mean_iou)} %, "
    line += f"pixel accuracy {percent(network.pixel_accuracy)} %"
    line += "" if network.loss is None else f", loss {network.loss:.3f}"
    if upper_bound is not None:
        line += f"\nupper bound of mean IoU at {size}: {percent(upper_bound.mean_iou)} %"
    return Text(line)


def calibration_line(calibration: Calibration) -> Text:
    """Expected calibration error, mean confidence and accuracy in a line."""
    confidence, accuracy = calibration.confidence, calibration.accuracy
    line = f"ECE {percent(calibration.error)} % at {calibration.protocol.pixels}"
    if confidence is not None and accuracy is not None:
        line += f" ({confidence_text(confidence, accuracy)})"
    return Text(line)


def confidence_text(confidence: float, accuracy: float) -> str:
    """Mean confidence, accuracy and the sign of their difference."""
    means = percent(confidence), percent(accuracy)
    bias = "" if means[0] == means[1] else ": overconfident" if confidence > accuracy else ": underconfident"
    return f"mean confidence {means[0]} %, accuracy {means[1]} %{bias}"


def interval_text(interval: Interval) -> str:
    """`56.0 [52.1, 59.8]` in per cent."""
    ends = f" [{percent(interval.low)}, {percent(interval.high)}]" if interval.low is not None else ""
    return percent(interval.estimate) + ends


def interval_table(scores: PerImageConfusion, title: str, known: ScoreIntervals) -> Group:
    """Classes and totals with 95 % intervals."""
    ious = {name: interval_text(iou) for name, iou in known.class_iou.items()}
    width = max(map(len, MEASURE_NAMES.values()))
    totals = [
        Text(
            f"{MEASURE_NAMES[name]:<{width}}  {interval_text(interval)} %",
            "bold" if name == "mean_iou" else "",
        )
        for name, interval in known.measures.items()
    ]
    note = "[ ]: 95 % interval over images of the same kind, not over seeds; "
    note += f"none for fewer than {FEWEST_IMAGES} images"
    warning = [Text(known.warning, "yellow")] if known.warning else []
    heading = Text(f"\n{title}: {scores.protocol}")
    return Group(heading, _class_table(ious), *totals, Text(note, "dim"), *warning)


def difference_tables(
    comparison: Comparison, letter: str = "B", shown: int = _CHANGED, first: str = "A", title: str = ""
) -> Group:
    """Metrics of both runs, their differences, and at most `shown` images with the largest changes."""
    same = comparison.protocols[0] == comparison.protocols[1]
    lines = []
    for short, name, runs, protocol in zip(
        (first, letter), comparison.names, comparison.runs, comparison.protocols, strict=True
    ):
        side = f"{name} (mean of {runs} runs)" if runs > 1 else name
        side += "" if same else f"\n   {protocol}"
        lines += [f"{short}: {side}"] if side != short else []
    lines += [f"{title}{comparison.protocols[0]}"] if same else []
    changed = [each for each in comparison.images[:shown] if each.change]
    return Group(
        Text("\n" + "\n".join(lines)),
        Text(verdict(comparison, letter, first), style="bold"),
        _measure_table(comparison, letter, first),
        Text(caption(comparison, seeds=not title), style="dim"),
        *([_changed_images(changed, letter, first)] if changed else []),
    )


def verdict(comparison: Comparison, letter: str = "B", first: str = "A") -> str:
    """Result of a comparison in a sentence."""
    total = comparison.measures["mean_iou"]
    change, low, high = total.difference.estimate, total.difference.low, total.difference.high
    if change is None or low is None:
        return f"too few images to distinguish {first} and {letter}"
    if change == low == high == 0:
        return f"{letter} does not differ from {first}"
    how = f"{'clearly' if total.clear else 'not clearly'} {'better' if change > 0 else 'worse'}"
    return f"{letter} is {how} than {first}: mean IoU {points(change)} points {points_interval(low, high)}"


def _measure_table(comparison: Comparison, letter: str, first: str) -> Table:
    table = Table()
    table.add_column("%", overflow="fold")
    for name in (first, letter, f"{letter} - {first}", "95 % interval", f"{letter} better"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, metric in comparison.measures.items():  # without hyphens, names wrap between words
        _add_row(table, MEASURE_NAMES[name].replace("-", " "), metric, "bold" if name == "mean_iou" else "")
    table.add_section()
    for name, metric in comparison.class_iou.items():
        _add_row(table, name, metric, "")
    return table


def _add_row(table: Table, name: str, metric: Difference, style: str) -> None:
    difference = metric.difference
    up = (difference.estimate or 0) > 0
    mark, colour = (" ▲" if up else " ▼", "green" if up else "red") if metric.clear else ("  ", "")
    table.add_row(
        Text(name),
        percent(metric.before),
        percent(metric.after),
        Text(points(difference.estimate) + mark, style=colour),
        Text(points_interval(difference.low, difference.high)),
        probability(metric.better),
        style=style,
    )


def caption(comparison: Comparison, seeds: bool = True) -> str:
    """Meaning of the intervals and marks; `seeds`: mention that several seeds can be passed."""
    if comparison.seed_spread is None:
        spread = "The intervals cover other images, not other seeds: there is one run of each."
        spread += " Pass several seeds, joined by commas, to include their spread." if seeds else ""
    else:
        spread = "The intervals cover other images and other seeds. Standard deviation of mean IoU between "
        spread += f"seeds: {percent(comparison.seed_spread)} points."
    marks = "▲ ▼: the interval excludes 0, by chance for one class in twenty."
    return f"{marks} {spread}"


def _changed_images(images: Sequence[ImageChange], letter: str, first: str) -> Table:
    title = "images with the largest changes, by mean IoU over their own classes"
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    for name in (f"{first} %", f"{letter} %", f"{letter} - {first}"):
        table.add_column(name, justify="right")
    for each in images:
        table.add_row(Text(each.id), percent(each.before), percent(each.after), points(each.change))
    return table
