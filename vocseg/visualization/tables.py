"""Tables and texts of scores, intervals and comparisons."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocseg.metrics.aggregate import TRIMAP, WIDTH, ErrorBudget, error_budget
from vocseg.metrics.bootstrap import FEWEST_IMAGES, Interval, ScoreIntervals, score_intervals
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.paired_test import Comparison, Difference
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
_BUDGET_NAMES = {
    "boundary": "near a boundary",
    "background_for_object": "background predicted as object",
    "object_for_background": "object predicted as background",
    "another_class": "object predicted as another class",
}
_BAR = 18  # characters
_MARKED = 3  # best and worst classes in colour
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
    cells = [(name, percent(iou), iou) for name, iou in zip(score.classes, score.class_iou, strict=True)]
    absent = sum(iou is None for iou in score.class_iou)
    missing = f" ({absent} neither present nor predicted)" if absent else ""
    totals = (
        f"mean IoU {percent(score.mean_iou)} % over {len(score.classes) - absent} classes{missing}, "
        f"pixel accuracy {percent(score.pixel_accuracy)} %"
        + ("" if score.loss is None else f", loss {score.loss:.3f}")
    )
    return Group(Text(f"\n{title}: {score.protocol}"), _class_table(cells), Text(totals))


def _class_table(cells: Sequence[tuple[str, str, float | None]]) -> Table:
    """Names, texts and values in two columns, with the best and the worst classes in colour."""
    table = Table()
    for _ in range(2):
        table.add_column("class")
        table.add_column("IoU %", justify="right", no_wrap=True)
    known = sorted(value for _, _, value in cells if value is not None)
    marked = min(_MARKED, len(known) // 3)
    low, high = (known[marked - 1], known[-marked]) if marked else (0.0, 0.0)
    texts = []
    for name, text, value in cells:
        style = ""
        if value is not None and low < high:
            style = "red" if value <= low else "green" if value >= high else ""
        texts.append((Text(name, style), Text(text, style)))
    half = (len(texts) + 1) // 2
    for left, right in zip_longest(texts[:half], texts[half:], fillvalue=("", "")):
        table.add_row(*left, *right)
    return table


def resolution_lines(
    network: "Score", upper_bound: "Score | None", windows: bool = False, alone: bool = False
) -> Text:
    """The score at input resolution, and the upper bound of the score at original resolution.

    `windows`: the table above is of sliding windows. `alone`: the table above is of this score.
    """
    loss = "" if network.loss is None else f"loss {network.loss:.3f}"
    if alone:
        return Text(loss)
    where = (
        f"resized to {network.protocol.views}, without windows" if windows else f"at {network.protocol.views}"
    )
    accuracy = f"pixel accuracy {percent(network.pixel_accuracy)} %"
    line = f"input resolution ({where}): mean IoU {percent(network.mean_iou)} %, {accuracy}"
    line += f", {loss}" if loss else ""
    if upper_bound is not None:
        size = f"{network.protocol.size}x{network.protocol.size}"
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


def interval_table(scores: PerImageConfusion, title: str, intervals: ScoreIntervals | None = None) -> Group:
    """Classes and totals with 95 % intervals, and the error budget."""
    known = intervals or score_intervals(scores)
    cells = [
        (name, interval_text(iou) + _no_interval(iou, known.images[name]), iou.estimate)
        for name, iou in known.class_iou.items()
    ]
    parts: list[RenderableType] = [Text(f"\n{title}: {scores.protocol}"), _class_table(cells)]
    width = max(map(len, MEASURE_NAMES.values()))
    for name, interval in known.measures.items():
        missing = "" if interval.low is not None else f"  (no interval: fewer than {FEWEST_IMAGES} images)"
        line = f"{MEASURE_NAMES[name]:<{width}}  {interval_text(interval)} %{missing}"
        parts.append(Text(line, style="bold" if name == "mean_iou" else ""))
    parts.append(Text("[ ]: 95 % interval over images of the same kind, not over seeds", "dim"))
    if known.warning:
        parts.append(Text(known.warning, "yellow"))
    budget = error_budget(scores.total(), scores.classes, scores.total_band())
    return Group(*parts, *([_budget_table(budget)] if budget.total == budget.total else []))


def _no_interval(interval: Interval, images: int) -> str:
    """Reason for a missing interval."""
    if interval.estimate is None or interval.low is not None:
        return ""
    return f" ({images} image{'s' * (images != 1)})" if images else " (only predicted)"


def _budget_table(budget: ErrorBudget) -> Table:
    table = Table(title="error budget: 100 % - mean IoU", title_justify="left")
    table.add_column("wrong pixels")
    table.add_column("points", justify="right")
    table.add_column("fraction of the errors", no_wrap=True)
    for name, lost in budget.as_dict().items():
        if lost is not None:
            share = lost / budget.total if budget.total else 0.0
            table.add_row(_BUDGET_NAMES[name], percent(lost), f"{share:>4.0%} " + "█" * round(_BAR * share))
    table.add_section()
    table.add_row("total", percent(budget.total), "", style="bold")
    return table


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
    return Group(
        Text("\n" + "\n".join(lines)),
        Text(verdict(comparison, letter, first), style="bold"),
        _measure_table(comparison, letter, first),
        Text(caption(comparison, seeds=not title), style="dim"),
        *(
            [_changed_images(comparison, letter, shown, first)]
            if any(k.change for k in comparison.images)
            else []
        ),
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
    shown = {name: each for name, each in comparison.class_iou.items() if each.before or each.after}
    for name, metric in shown.items():
        _add_row(table, name, metric, "")
    if hidden := len(comparison.class_iou) - len(shown):
        table.caption = f"not shown: {hidden} class{'es' * (hidden != 1)} at 0 or absent in both"
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
    tested = sum(each.difference.low is not None for each in comparison.class_iou.values())
    if comparison.seed_spread is None:
        spread = "The intervals cover other images, not other seeds: there is one run of each."
        spread += " Pass several seeds, joined by commas, to include their spread." if seeds else ""
    else:
        spread = "The intervals cover other images and other seeds. Standard deviation of mean IoU between "
        spread += f"seeds: {percent(comparison.seed_spread)} points."
    return (
        f"▲ ▼: the interval excludes 0. Without any difference, about {0.05 * tested:.1f} of {tested} "
        f"class{'es' * (tested != 1)} with an interval would be marked. {spread}"
    )


def _changed_images(comparison: Comparison, letter: str, shown: int, first: str) -> Table:
    title = "images with the largest changes, by mean IoU over their own classes"
    title += "\n(influence: on the difference above, in points)"
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    for name in (f"{first} %", f"{letter} %", f"{letter} - {first}", "influence"):
        table.add_column(name, justify="right")
    for each in comparison.images[:shown]:
        if each.change:
            metrics = percent(each.before), percent(each.after), points(each.change)
            table.add_row(Text(each.id), *metrics, f"{100 * each.influence:+.3f}")
    return table
