"""Tables of a comparison."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vocseg.metrics.paired_test import Comparison, Difference
from vocseg.visualization.tables import MEASURE_NAMES, percent

SHOWN = 10  # images


def difference_tables(
    comparison: Comparison, letter: str = "B", shown: int = SHOWN, first: str = "A", title: str = ""
) -> Group:
    """The figures of both with their difference, and the images that changed most.

    Args:
        comparison: What to show.
        letter: What the second is called.
        shown: How many images at most.
        first: What the first is called.
        title: What the comparison is of.
    """
    changed = any(each.change for each in comparison.images)
    one = comparison.protocols[0] == comparison.protocols[1]
    how = ["", ""] if one else [f"\n   {protocol}" for protocol in comparison.protocols]
    sides = [f"{name}: {_name(comparison, k)}{how[k]}" for k, name in enumerate((first, letter))]
    lines = [side for side in sides if side not in (f"{first}: {first}", f"{letter}: {letter}")]
    lines += [f"{title}{comparison.protocols[0]}"] if one else []
    heading = Text("\n" + "\n".join(lines))
    return Group(
        heading,
        Text(verdict(comparison, letter, first), style="bold"),
        _figures(comparison, letter, first),
        Text(caption(comparison, seeds=not title), style="dim"),
        *([_images(comparison, letter, shown, first)] if changed else []),
    )


def verdict(comparison: Comparison, letter: str = "B", first: str = "A") -> str:
    """What it comes to, in a sentence."""
    total = comparison.measures["mean_iou"]
    change, low, high = total.difference.estimate, total.difference.low, total.difference.high
    if change is None or low is None:
        return f"too few images to tell {first} and {letter} apart"
    if change == low == high == 0:
        return f"{letter} does not differ from {first}"
    word = "better" if change > 0 else "worse"
    certain = "clearly" if total.clear else "not clearly"
    interval = f"[{_points(low)}, {_points(high)}]"
    return f"{letter} is {certain} {word} than {first}: mean IoU {_points(change)} points {interval}"


def _name(comparison: Comparison, which: int) -> str:
    runs = comparison.runs[which]
    return comparison.names[which] + (f" (mean of {runs} runs)" if runs > 1 else "")


def _figures(comparison: Comparison, letter: str, first: str) -> Table:
    table = Table()
    table.add_column("%", overflow="fold")  # names break between words
    for name in (first, letter, f"{letter} - {first}", "95 % interval", f"{letter} better"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, figure in comparison.measures.items():
        _add_row(table, MEASURE_NAMES[name].replace("-", " "), figure, "bold" if name == "mean_iou" else "")
    table.add_section()
    shown = {name: each for name, each in comparison.class_iou.items() if each.before or each.after}
    for name, figure in shown.items():
        _add_row(table, name, figure, "")
    if len(shown) < len(comparison.class_iou):
        hidden = len(comparison.class_iou) - len(shown)
        words = ("class", "is") if hidden == 1 else ("classes", "are")
        table.caption = f"{hidden} {words[0]} at 0 or absent in both {words[1]} left out"
    return table


def _add_row(table: Table, name: str, figure: Difference, style: str) -> None:
    difference = figure.difference
    ends = "-" if difference.low is None else f"[{_points(difference.low)}, {_points(difference.high)}]"
    up = (difference.estimate or 0) > 0
    mark, colour = (" ▲" if up else " ▼", "green" if up else "red") if figure.clear else ("  ", "")
    table.add_row(
        Text(name),
        percent(figure.before),
        percent(figure.after),
        Text(_points(difference.estimate) + mark, style=colour),
        Text(ends),
        _chance(figure.better),
        style=style,
    )


def _points(value: float | None) -> str:
    """A difference in points; one that rounds to nothing has no sign unless it is there."""
    if value is None:
        return "-"
    return "0.0" if value == 0 else f"{100 * value:+.1f}"


def _chance(probability: float | None) -> str:
    if probability is None:
        return "-"
    if probability > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"


def caption(comparison: Comparison, seeds: bool = True) -> str:
    """What the intervals hold, and how the marks are meant.

    Args:
        comparison: What is shown.
        seeds: Whether several seeds could have been named.
    """
    tested = sum(each.difference.low is not None for each in comparison.class_iou.values())
    spread = (
        "The intervals hold for other images of the kind, not for other seeds: there is one run of each."
        + (" Name several seeds, joined by commas, to have their spread in it." if seeds else "")
        if comparison.seed_spread is None
        else "The intervals hold for other images of the kind and for other seeds; mean IoU spreads by "
        f"{percent(comparison.seed_spread)} points from seed to seed."
    )
    classes = f"{tested} class" + "es" * (tested != 1)
    return (
        f"▲ ▼: the interval leaves out 0. Of {classes} with an interval, about {0.05 * tested:.1f} "
        f"are so marked where nothing differs. {spread}"
    )


def _images(comparison: Comparison, letter: str, shown: int, first: str) -> Table:
    title = "images that changed most, by mean IoU over their own classes"
    title += "\n(share: of the difference above, in points)"
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    for name in (f"{first} %", f"{letter} %", f"{letter} - {first}", "share"):
        table.add_column(name, justify="right")
    for each in comparison.images[:shown]:
        if each.change:
            moves = f"{100 * each.influence:+.3f}"
            table.add_row(
                Text(each.id), percent(each.before), percent(each.after), _points(each.change), moves
            )
    return table
