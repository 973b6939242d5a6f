"""Tables of a comparison."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vocseg.metrics.paired_test import Comparison, Difference
from vocseg.visualization.formatting import percent, points, points_interval, probability
from vocseg.visualization.tables import MEASURE_NAMES

SHOWN = 10  # images


def difference_tables(
    comparison: Comparison, letter: str = "B", shown: int = SHOWN, first: str = "A", title: str = ""
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
        _metrics(comparison, letter, first),
        Text(caption(comparison, seeds=not title), style="dim"),
        *([_images(comparison, letter, shown, first)] if any(k.change for k in comparison.images) else []),
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


def _metrics(comparison: Comparison, letter: str, first: str) -> Table:
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


def _images(comparison: Comparison, letter: str, shown: int, first: str) -> Table:
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
