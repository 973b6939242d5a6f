"""Tables of scores and intervals."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocseg.metrics.aggregate import TRIMAP, WIDTH, ErrorBudget, error_budget
from vocseg.metrics.bootstrap import FEWEST_IMAGES, Interval, ScoreIntervals, score_intervals
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.visualization.formatting import percent

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
