"""A score with its uncertainty, and what keeps it from being perfect."""

from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocseg.scores.bands import WIDTH
from vocseg.scores.image_scores import ImageScores
from vocseg.scores.intervals import FEWEST_IMAGES, Interval, ScoreIntervals, score_intervals
from vocseg.scores.measures import TRIMAP, ErrorBudget, error_budget

MEASURE_NAMES = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    TRIMAP: f"trimap mean IoU ({WIDTH} px)",
}
_BUDGET_NAMES = {
    "boundary": "near a boundary",
    "background_for_object": "background taken for object",
    "object_for_background": "object taken for background",
    "another_class": "object taken for another class",
}
_BAR = 20  # characters


def percent(value: float | None) -> str:
    """A share in per cent, or a dash."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def interval_text(interval: Interval) -> str:
    """`56.0 [52.1, 59.8]` in per cent."""
    ends = f" [{percent(interval.low)}, {percent(interval.high)}]" if interval.low is not None else ""
    return percent(interval.estimate) + ends


def interval_table(scores: ImageScores, title: str, intervals: ScoreIntervals | None = None) -> Group:
    """Every class and the totals with 95 % intervals, and the error budget.

    Args:
        scores: What was counted.
        title: What was scored.
        intervals: Of these scores, if they are known already.
    """
    known = intervals or score_intervals(scores)
    parts: list[RenderableType] = [Text(f"\n{title}: {scores.protocol}"), _classes(known)]
    width = max(map(len, MEASURE_NAMES.values()))
    for name, interval in known.measures.items():
        lacking = "" if interval.low is not None else f"  (no interval: fewer than {FEWEST_IMAGES} images)"
        line = f"{MEASURE_NAMES[name]:<{width}}  {interval_text(interval)} %{lacking}"
        parts.append(Text(line, style="bold" if name == "mean_iou" else ""))
    parts.append(Text("[ ]: 95 % interval over other images of the kind; other seeds are not in it", "dim"))
    if known.warning:
        parts.append(Text(known.warning, "yellow"))
    budget = error_budget(scores.total(), scores.classes, scores.total_band())
    return Group(*parts, *([_budget(budget)] if budget.total == budget.total else []))


def _classes(known: ScoreIntervals) -> Table:
    """In two columns; a class in few images has no interval."""
    table = Table()
    for _ in range(2):
        table.add_column("class")
        table.add_column("IoU %", justify="right", no_wrap=True)
    cells = [
        (Text(name), interval_text(interval) + _few(interval, known.images[name]))
        for name, interval in known.class_iou.items()
    ]
    half = (len(cells) + 1) // 2
    for left, right in zip_longest(cells[:half], cells[half:], fillvalue=(Text(), "")):
        table.add_row(*left, *right)
    return table


def _few(interval: Interval, images: int) -> str:
    """Why a figure has no interval."""
    lacking = interval.estimate is not None and interval.low is None
    if lacking and not images:
        return " (only predicted)"
    return f" ({images} image{'s' * (images != 1)})" if lacking else ""


def _budget(budget: ErrorBudget) -> Table:
    table = Table(title="what keeps mean IoU from 100 %", title_justify="left")
    table.add_column("wrong pixels")
    table.add_column("points", justify="right")
    table.add_column("share", justify="right")
    table.add_column("of all that is lost", no_wrap=True)
    for name, lost in budget.as_dict().items():
        if lost is not None:
            share = lost / budget.total if budget.total else 0.0
            table.add_row(_BUDGET_NAMES[name], percent(lost), f"{share:.0%}", "█" * round(_BAR * share))
    table.add_section()
    table.add_row("together", percent(budget.total), "", "", style="bold")
    return table
