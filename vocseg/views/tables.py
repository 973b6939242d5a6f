"""Scores as tables for the terminal."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vocseg.scores import Calibration, Score


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


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
    cells = [(Text(name), _percent(iou)) for name, iou in zip(score.classes, score.class_iou, strict=True)]
    half = (len(cells) + 1) // 2
    cells += [(Text(), "")] * (2 * half - len(cells))
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


def sizes_line(network: Score, ceiling: Score | None, windows: bool = False, alone: bool = False) -> Text:
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


def calibration_line(calibration: Calibration) -> Text:
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
