"""`curves`: loss and mean IoU by epoch as a PNG or SVG file."""

import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from math import dist
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from vocseg.errors import UserError, shown
from vocseg.report.charts import HEIGHT, WIDTH, Chart, Points, chart
from vocseg.report.load_run import LoadedRun, read_run
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import font

_MEASURES = (("loss", "loss", False), ("mean IoU, %", "miou", True))
_STAGES = ("train", "val")
# Safe for colour blindness; the first two are those of val and train in `report`.
_COLOURS = ("#0b5cad", "#b8480b", "#008066", "#a3478c", "#8a6d00", "#3d3d3d")
_INK, _SOFT, _GRID, _PAPER = "#17212b", "#52606d", "#d5dce3", "#ffffff"
_TITLE, _GAP, _LINE = 26, 20, 20  # height of a title, distance of charts, height of a line of the legend
_FONT = 13
_DASH = 6.0, 4.0  # lengths of a dash and of the space behind it
_SCALE, _SMOOTH = 3, 2  # pixels of the PNG per unit; drawn larger by `_SMOOTH`, then reduced


class Stroke(NamedTuple):
    """A polyline, or a dot if it has one point."""

    points: Points
    colour: str
    width: float = 1.0
    dashed: bool = False


class Words(NamedTuple):
    """Text on a baseline; `anchor`: position of `x` in it: start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    colour: str = _SOFT


class Drawing(NamedTuple):
    """Strokes and words in units; a unit is three pixels of the PNG."""

    width: float
    height: float
    shapes: tuple[Stroke | Words, ...]


def curves(runs: list[str], output: Path = Path("curves.png"), labels: list[str] | None = None) -> Path:
    """Draw loss and mean IoU of training and validation by epoch, for a thesis or a page.

    Several runs share the charts: validation is solid, training dashed, and each run has a colour. RUN is the
    folder of a run of `fit` or `finetune`, or of a run of `test`, which stands for the training of its
    weights.

    Args:
        runs: Folders of the runs; also as positional arguments before all flags.
        output: File to write; .png (300 dots per inch) or .svg.
        labels: Name of each run in the legend; default: the end of its path.

    Returns:
        The file.

    Raises:
        UserError: If a run has no curves, or the file cannot be written.
    """
    if not 1 <= len(runs) <= len(_COLOURS):
        raise UserError(f"curves draws 1 to {len(_COLOURS)} runs, got {len(runs)}. Pass their folders.")
    if output.suffix.lower() not in (".png", ".svg"):
        raise UserError(f"--output {output}: the file is a .png or .svg. Use such a name.")
    if labels is not None and len(labels) != len(runs):
        raise UserError(f"--labels: {len(labels)} names for {len(runs)} runs. Give each run one.")
    loaded = [read_run(name, Path(name)) for name in runs]
    for run in loaded:
        if run.curves is None:
            raise UserError(
                f"{run.folder}: its training has no metrics.csv with values beside a config.yaml. Pass the "
                "folder of a run of `fit` or `finetune`."
            )
    drawing = drawn_curves(loaded, labels)
    atomic_write(output, as_svg(drawing) if output.suffix.lower() == ".svg" else as_png(drawing))
    print(f"wrote {output}")
    return output


def drawn_curves(runs: Sequence[LoadedRun], labels: Sequence[str] | None = None) -> Drawing:
    """Charts of loss and mean IoU side by side, and a legend below them.

    Raises:
        UserError: If the runs logged neither.
    """
    alone = len(runs) == 1 and not labels
    labels = [""] if alone else _labels(labels or _names(runs))
    colours = {label: _COLOURS[k] for k, label in enumerate(labels)}
    if alone:
        colours = {"train": _COLOURS[1], "val": _COLOURS[0]}
    best = runs[0].curves.best_epoch() if alone and runs[0].curves else None
    found = [
        chart(title, _series(dict(zip(labels, runs, strict=True)), name), percent, best)
        for title, name, percent in _MEASURES
    ]
    charts = [each for each in found if each is not None]
    if not charts:
        raise UserError(f"{runs[0].folder}: its metrics.csv has neither loss nor mean IoU. Pass another run.")
    width = len(charts) * (WIDTH + _GAP) - _GAP
    shapes = [shape for k, each in enumerate(charts) for shape in _chart(each, k * (WIDTH + _GAP), colours)]
    entries = [(name, colour, name == "train") for name, colour in colours.items()]
    if not alone:
        entries += [("val", _INK, False), ("train", _INK, True)]
    if best is not None:
        entries.append((f"best mean IoU of val: epoch {best:g}", _SOFT, False))
    legend = list(_legend(entries, width, _TITLE + HEIGHT))
    lowest = max(shape.y for shape in legend if isinstance(shape, Words))
    return Drawing(width, lowest + 10, (*shapes, *legend))


def _names(runs: Sequence[LoadedRun]) -> Sequence[str]:
    """The ends of the paths, as short as they differ."""
    parts = [run.folder.resolve().parts for run in runs]
    ends = [["/".join(each[-length:]) for each in parts] for length in range(2, 7)]
    return next((names for names in ends if len(set(names)) == len(names)), ends[0])


def _labels(names: Sequence[str]) -> list[str]:
    """Short and different names."""
    return [f"{shown(name, 50)}{f' ({k})' if name in names[:k] else ''}" for k, name in enumerate(names)]


def _series(runs: Mapping[str, LoadedRun], name: str) -> dict[str, Points]:
    """Points by run and stage; the name of a single run is empty."""
    return {
        f"{label} {stage}".strip(): run.curves.series.get(f"{name}/{stage}", ())
        for label, run in runs.items()
        if run.curves is not None
        for stage in _STAGES
    }


def _chart(each: Chart, left: float, colours: Mapping[str, str]) -> Iterator[Stroke | Words]:
    """Shapes of a chart; `left`: its position in the drawing."""

    def moved(points: Points) -> Points:
        return [(x + left, y + _TITLE) for x, y in points]

    yield Words(left + each.left, _TITLE - 4, each.title, colour=_INK)
    for tick in each.up:
        yield Stroke(moved([(each.left, tick.place), (each.right, tick.place)]), _GRID)
        yield Words(left + each.left - 6, _TITLE + tick.place + 4, tick.label, "end")
    for tick in each.across:
        yield Words(left + tick.place, _TITLE + each.bottom + 16, tick.label, "middle")
    yield Words(left + each.right, _TITLE + each.height - 3, "epoch", "end")
    if each.marked is not None:
        yield Stroke(moved([(each.marked, each.top), (each.marked, each.bottom)]), _SOFT)
    for line in each.lines:
        colour = colours.get(line.name) or colours[line.name.rpartition(" ")[0]]
        yield Stroke(moved(line.places), colour, 2.0, line.kind == "train")
        yield from (Stroke(moved([dot]), colour, 4.8) for dot in line.dots)


def _legend(entries: Sequence[tuple[str, str, bool]], width: float, top: float) -> Iterator[Stroke | Words]:
    """Names beside a piece of their line, wrapped into lines."""
    x, y = 46.0, top + _LINE
    for name, colour, dashed in entries:
        length = 32 + font(_FONT).getlength(name)
        if x > 46 and x + length > width:
            x, y = 46.0, y + _LINE
        yield Stroke([(x, y - 4), (x + 26, y - 4)], colour, 1.0 if name.startswith("best") else 2.0, dashed)
        yield Words(x + 32, y, name)
        x += length + 24


def as_svg(drawing: Drawing) -> str:
    """A drawing as an SVG file."""
    size = f"{drawing.width:g}", f"{drawing.height:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {" ".join(size)}" width="{size[0]}" '
        f'height="{size[1]}" font-family="Helvetica, Arial, sans-serif" font-size="{_FONT}">',
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
    ]
    for shape in drawing.shapes:
        if isinstance(shape, Words):
            place = f'x="{shape.x:g}" y="{shape.y:g}" text-anchor="{shape.anchor}" fill="{shape.colour}"'
            lines.append(f"<text {place}>{escape(shape.text)}</text>")
        elif len(shape.points) == 1:
            ((x, y),) = shape.points
            lines.append(f'<circle cx="{x:g}" cy="{y:g}" r="{shape.width / 2:g}" fill="{shape.colour}"/>')
        else:
            dash = f' stroke-dasharray="{_DASH[0]:g} {_DASH[1]:g}"' if shape.dashed else ""
            points = " ".join(f"{x:g},{y:g}" for x, y in shape.points)
            style = f'fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"{dash}'
            lines.append(f'<polyline points="{points}" {style} stroke-linejoin="round"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def as_png(drawing: Drawing) -> bytes:
    """A drawing as a PNG file."""
    scale = _SCALE * _SMOOTH
    canvas = Image.new("RGB", (round(drawing.width * scale), round(drawing.height * scale)), _PAPER)
    pen, anchors = ImageDraw.Draw(canvas), {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in drawing.shapes:
        if isinstance(shape, Words):
            place = shape.x * scale, shape.y * scale
            pen.text(place, shape.text, shape.colour, font(_FONT * scale), anchors[shape.anchor])
        elif len(shape.points) == 1:
            ((x, y),) = shape.points
            pen.circle((x * scale, y * scale), shape.width / 2 * scale, shape.colour)
        else:
            for part in _dashes(shape.points) if shape.dashed else [shape.points]:
                scaled = [(x * scale, y * scale) for x, y in part]
                pen.line(scaled, shape.colour, round(shape.width * scale), joint="curve")
    stream = io.BytesIO()
    canvas.reduce(_SMOOTH).save(stream, "PNG", dpi=(300, 300), optimize=True)
    return stream.getvalue()


def _dashes(points: Points) -> Iterator[Points]:
    """Pieces of a polyline with spaces between them."""
    piece, drawn, left = [points[0]], True, _DASH[0]
    for start, end in pairwise(points):
        length, done = dist(start, end), 0.0
        while length - done > left:
            done += left
            share = done / length
            place = start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
            if drawn:
                yield [*piece, place]
            piece, drawn = [place], not drawn
            left = _DASH[0] if drawn else _DASH[1]
        left -= length - done
        piece.append(end)
    if drawn and len(piece) > 1:
        yield piece
