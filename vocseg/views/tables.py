"""Scores as tables for the terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vocseg.scores import Score


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _points(before: float | None, after: float | None) -> str:
    """The difference in points, green if better and red if worse."""
    if before is None or after is None:
        return "-"
    points = 100 * (after - before)
    colour = "green" if points > 0.05 else "red" if points < -0.05 else "dim"
    return f"[{colour}]{points:+.1f}[/]"


def score_table(score: Score, title: str) -> Group:
    """IoU by class in two columns, the totals under it.

    Args:
        score: What to show.
        title: What was scored.
    """
    table = Table()
    for _ in range(2):
        table.add_column("class")
        table.add_column("IoU %", justify="right")
    cells = [(name, _percent(iou)) for name, iou in zip(score.classes, score.class_iou, strict=True)]
    half = (len(cells) + 1) // 2
    cells += [("", "")] * (2 * half - len(cells))
    for left, right in zip(cells[:half], cells[half:], strict=True):
        table.add_row(*left, *right)
    return Group(Text(f"\n{title}: {score.protocol}"), table, Text(_totals(score)))


def _totals(score: Score) -> str:
    absent = sum(iou is None for iou in score.class_iou)
    missing = f" ({absent} neither there nor predicted)" if absent else ""
    return (
        f"mean IoU {_percent(score.mean_iou)} % over {len(score.classes) - absent} classes{missing}, "
        f"pixel accuracy {_percent(score.pixel_accuracy)} %"
        + ("" if score.loss is None else f", loss {score.loss:.3f}")
    )


def sizes_line(network: Score, ceiling: Score) -> Text:
    """What the same predictions score at the network's size, and how far that size lets anyone come.

    Args:
        network: Score at the network's size.
        ceiling: Score of a network without fault, at the pictures' own size.
    """
    size = network.protocol.size
    return Text(
        f"the same at {size}x{size}: mean IoU {_percent(network.mean_iou)} %, pixel accuracy "
        f"{_percent(network.pixel_accuracy)} %\n"
        f"predicting at {size}x{size} without fault would give mean IoU {_percent(ceiling.mean_iou)} %"
    )


def comparison_table(before: Score, after: Score, title: str) -> Group:
    """IoU by class before and after, with the difference in points.

    Args:
        before: Score on the same images as `after`.
        after: The other one.
        title: What was compared.
    """
    table = Table()
    table.add_column("IoU %")
    for name in ("before", "after", "points"):
        table.add_column(name, justify="right")
    for name, old, new in zip(before.classes, before.class_iou, after.class_iou, strict=True):
        table.add_row(name, _percent(old), _percent(new), _points(old, new))
    table.add_section()
    for name, old, new in (
        ("mean IoU", before.mean_iou, after.mean_iou),
        ("pixel accuracy", before.pixel_accuracy, after.pixel_accuracy),
    ):
        table.add_row(name, _percent(old), _percent(new), _points(old, new), style="bold")
    return Group(Text(f"\n{title}: {after.protocol}"), table)
