"""Tables of scores and intervals."""

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocseg.metrics.aggregate import TRIMAP, ErrorBudget, error_budget
from vocseg.metrics.bootstrap import FEWEST_IMAGES, Interval, ScoreIntervals, score_intervals
from vocseg.metrics.boundary import WIDTH
from vocseg.metrics.per_image import PerImageConfusion

if TYPE_CHECKING:
    from vocseg.metrics.calibration import Calibration
    from vocseg.metrics.score import Score


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def score_table(score: "Score", title: str) -> Group:
    """IoU by class in two columns, the totals under it.

    Args:
        score: What to show.
        title: What was scored.
    """
    table = Table()
    for _ in range(2):
        table.add_column("class")
        table.add_column("IoU %", justify="right")
    cells = [(Text(name), _percent(iou)) for name, iou in zip(score.classes, score.class_iou, strict=True)]
    half = (len(cells) + 1) // 2
    cells += [(Text(), "")] * (2 * half - len(cells))
    for left, right in zip(cells[:half], cells[half:], strict=True):
        table.add_row(*left, *right)
    return Group(Text(f"\n{title}: {score.protocol}"), table, Text(_totals(score)))


def _totals(score: "Score") -> str:
    absent = sum(iou is None for iou in score.class_iou)
    missing = f" ({absent} neither there nor predicted)" if absent else ""
    return (
        f"mean IoU {_percent(score.mean_iou)} % over {len(score.classes) - absent} classes{missing}, "
        f"pixel accuracy {_percent(score.pixel_accuracy)} %"
        + ("" if score.loss is None else f", loss {score.loss:.3f}")
    )


def sizes_line(network: "Score", ceiling: "Score | None", windows: bool = False, alone: bool = False) -> Text:
    """What images score at the network's size, and how far that size lets anyone come.

    Args:
        network: Score at the network's size.
        ceiling: Score of a network without fault, at the pictures' own size, if that was counted.
        windows: Whether the score above was taken with windows, and this one of other predictions.
        alone: Whether there is no other score above than this one.
    """
    loss = "" if network.loss is None else f"loss {network.loss:.3f}"
    if alone:
        return Text(loss)
    views = network.protocol.views
    same = f"resized whole to {views}, without windows" if windows else f"the same at {views}"
    lines = [
        f"{same}: mean IoU {_percent(network.mean_iou)} %, pixel accuracy "
        f"{_percent(network.pixel_accuracy)} %" + (f", {loss}" if loss else "")
    ]
    if ceiling is not None:
        size = f"{network.protocol.size}x{network.protocol.size}"
        lines.append(f"predicting at {size} without fault would give mean IoU {_percent(ceiling.mean_iou)} %")
    return Text("\n".join(lines))


def calibration_line(calibration: "Calibration") -> Text:
    """How far the network's probabilities are from how often it is right.

    Args:
        calibration: What was counted.
    """
    confidence, accuracy = calibration.confidence, calibration.accuracy
    error, protocol = calibration.error, calibration.protocol
    where = "the pictures' own size" if protocol.resolution == "original" else protocol.views
    line = f"expected calibration error {_percent(error)} % at {where}"
    if confidence is None or accuracy is None:
        return Text(line)
    sure = "too sure" if confidence > accuracy else "not sure enough"
    return Text(f"{line} ({_percent(confidence)} % sure, {_percent(accuracy)} % right: {sure} on the whole)")


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


def interval_table(scores: PerImageConfusion, title: str, intervals: ScoreIntervals | None = None) -> Group:
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
