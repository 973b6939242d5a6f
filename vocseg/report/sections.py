"""Parts of the page and of the model card."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vocseg.commands.compare import read_groups
from vocseg.data.classes import VOC_CLASSES
from vocseg.errors import UserError, shown
from vocseg.metrics.aggregate import TRIMAP
from vocseg.metrics.bootstrap import Interval, ScoreIntervals
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.per_image import Protocol
from vocseg.report.charts import charts_of
from vocseg.report.images import Gallery, RunImages, change_card, css, galleries_of, label_error_gallery
from vocseg.report.load_run import AFTER, BEFORE, LoadedRun
from vocseg.visualization.confusion import matrix_view
from vocseg.visualization.tables import (
    MEASURE_NAMES,
    caption,
    percent,
    points,
    probability,
    typographic,
    verdict,
)

_NOTES = {
    "mean_iou": "over the classes, background included",
    "pixel_accuracy": "correct fraction of the labelled pixels",
    "mean_class_accuracy": "correct fraction of a class's pixels, mean over classes",
    "frequency_weighted_iou": "IoU weighted by the classes' pixels",
    TRIMAP: "of the pixels near a boundary",
}


class Figure(NamedTuple):
    """A metric from 0 to 1 with its interval and an explanation."""

    name: str
    interval: Interval
    note: str = ""


class ClassBar(NamedTuple):
    """IoU of a class; `images`: number of images that contain it, None if unknown."""

    name: str
    colour: str
    interval: Interval
    images: int | None = None


def run_view(run: LoadedRun, letter: str, images: RunImages | None, count: int) -> dict[str, Any]:
    """Values of the template of a run, with `count` images of each kind; `letter`: its short name."""
    key, known = f"run-{letter or 'A'}", intervals_of(run)
    figures = figures_of(run, known) if known else _validation_figures(run)
    matrix = run.images.total() if run.images is not None else None
    view: dict[str, Any] = {
        "key": key,  # prefix of the anchors
        "letter": letter,
        "name": " / ".join(part for part in run.folder.resolve().parts[-2:] if part != "/"),
        "kind": kind_of(run),
        "main": figures[0],
        "warning": known and known.warning,
        "figures": figures[1:],
        "facts": [(name, value) for name, value in _facts(run) if value],
        "bars": bars_of(run, known),
        "matrix": None if matrix is None or not matrix.any() else matrix_view(matrix, run.classes),
        "budget": run.score.get("error_budget"),
        "galleries": galleries_of(run, images, count),
        "label_errors": label_error_gallery(run, images, count),
        "charts": charts_of({"": run.curves}) if run.curves is not None else [],
        "reliability": run.calibration,
        "changes": _finetuning_of(run, key, count),
    }
    view["notes"] = dict(_notes(run, images))  # after the galleries, which find missing images
    return view


def kind_of(run: LoadedRun) -> str:
    """Resolution of the scored pixels and input of the network."""
    protocol = run.protocol
    if protocol is None:
        return "validation in training, at input resolution"
    way = f"{'in' if protocol.windows else 'at'} {protocol.views}"
    if protocol.resolution == "original":
        return f"at original resolution, predicted {way}"
    return ("after fine-tuning, " if run.primary == "after" else "") + f"images and masks {way}"


def _facts(run: LoadedRun) -> Iterator[tuple[str, Any]]:
    weights, model = run.scores.get("weights") or {}, run.settings.get("model") or {}
    yield "folder", run.folder.resolve()
    if run.protocol is not None:
        yield from protocol_facts(run.protocol)
    network = [weights.get(name) or model.get(name) for name in ("arch", "encoder")]
    yield "network", " with ".join(str(name) for name in network if name)
    yield "started from" if run.primary == "after" else "weights", weights.get("path")
    yield "trained in", run.curves.folder.resolve() if run.curves is not None else None
    yield "scored by vocseg", weights.get("vocseg")


def protocol_facts(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """Pairs of name and value of a protocol."""
    yield "images", f"{protocol.images:,} of the split '{protocol.split}'"
    yield "data fingerprint", protocol.fingerprint
    yield "scored at", "original resolution" if protocol.resolution == "original" else "input resolution"
    yield "input resolution", f"{protocol.size}x{protocol.size}"
    yield "sliding windows", protocol.windows or "none: images are resized"
    yield "test-time augmentation", protocol.tta or "none"


def intervals_of(run: LoadedRun) -> ScoreIntervals | None:
    """Metrics of the main score with 95 % intervals; None without a score."""
    return ScoreIntervals.from_dict(run.score["intervals"]) if run.score else None


def figures_of(run: LoadedRun, known: ScoreIntervals) -> list[Figure]:
    """Totals, mean IoU first; other scores of mean IoU and the upper bound, where known."""
    figures = [Figure(MEASURE_NAMES[name], each, _NOTES[name]) for name, each in known.measures.items()]
    for key, name in (("input_resolution", "at input resolution"), ("before", "before fine-tuning")):
        if (score := run.scores.get(key)) and key != run.primary:
            figures.append(Figure(f"mean IoU {name}", Interval(**score["intervals"]["mean_iou"])))
    if (bound := run.scores.get("ceiling")) and run.protocol:
        note = f"a perfect prediction at {run.protocol.size}x{run.protocol.size}"
        figures.append(Figure("upper bound of mean IoU", Interval(bound["mean_iou"]), note))
    return figures


def _validation_figures(run: LoadedRun) -> list[Figure]:
    """Best validation of a run without a score."""
    if run.curves is None:
        return [Figure("mean IoU", Interval(None))]
    best = run.curves.best_epoch()
    return [
        Figure("mean IoU", Interval(run.curves.at("miou/val", best)), f"of epoch {best:g}" if best else ""),
        Figure("pixel accuracy", Interval(run.curves.at("pixel_accuracy/val", best)), "of the same epoch"),
    ]


def bars_of(run: LoadedRun, known: ScoreIntervals | None) -> list[ClassBar]:
    """IoU of the classes; without a score, that of the best epoch."""
    if known is not None:
        ious, images = known.class_iou, known.images
    elif run.curves is not None:
        best, curves = run.curves.best_epoch(), run.curves
        ious = {name: Interval(curves.at(f"per_class_iou/{name}", best)) for name in curves.classes}
        images = {}
    else:
        return []
    origin = run.label_errors.origin if run.label_errors is not None else VOC_CLASSES
    colours = dict(zip(origin.names, origin.colours, strict=False))
    return [
        ClassBar(name, css(colours.get(name, (128, 128, 128))), iou, images.get(name))
        for name, iou in ious.items()
    ]


def _notes(run: LoadedRun, images: RunImages | None) -> Iterator[tuple[str, str]]:
    """Missing parts, and the command that makes them."""
    if run.label_errors is None:
        lacking = "There are no predictions, so there are no images and label errors."
        if run.images is None:
            lacking = "There are no per-image scores, so there are no intervals and images."
        scored = (run.scores.get("weights") or {}).get("path") if run.primary != "after" else None
        command = f"python -m vocseg test --ckpt_path {scored or run.folder / 'unet_voc.pth'}"
        if root := (run.settings.get("data") or {}).get("root"):
            command += f" --data.root {root}"
        yield f"{lacking} Score the weights, and report on the folder of that run:", command
    if images is not None and images.missing:
        lacking = f"{len(images.missing)} images could not be shown ({next(iter(images.missing.values()))})."
        yield f"{lacking} If the data moved, pass its folder with --root.", ""


class ComparedRun(NamedTuple):
    """Short name of a run, and its images with predictions."""

    letter: str
    images: RunImages | None = None


def comparisons_of(
    names: Sequence[str], sides: Sequence[ComparedRun], count: int, across: Collection[str] = ()
) -> tuple[list[dict[str, Any]], list[str]]:
    """Comparisons of the other runs with the first, and a sentence for each that is not possible."""
    found, lacking = [], []
    for name, side in zip(names[1:], sides[1:], strict=True):
        try:
            before, after = read_groups([names[0], name])
            one = compare_groups(before, after, across=across)
        except UserError as error:
            lacking.append(error.sentence)
        else:
            found.append(_comparison_view(one, (sides[0], side), count, f"compare-{side.letter}", ""))
    return found, lacking


def _finetuning_of(run: LoadedRun, key: str, count: int) -> dict[str, Any] | None:
    """Comparison before and after fine-tuning; None of another run."""
    files = [str(run.folder / name) for name in (BEFORE, AFTER)]
    if not all(Path(file).is_file() for file in files):
        return None
    before, after = read_groups(files)
    sides = ComparedRun("before"), ComparedRun("after")
    return _comparison_view(compare_groups(before, after), sides, count, f"{key}-changes", "fine-tuning, ")


def _comparison_view(
    found: Comparison, sides: tuple[ComparedRun, ComparedRun], count: int, key: str, where: str
) -> dict[str, Any]:
    """Values of the template of a comparison; `key`: anchor of its section."""
    first, letter = (side.letter for side in sides)
    intervals = [each.difference for each in found.class_iou.values()]
    ends = [abs(end) for each in intervals for end in (each.low, each.high, each.estimate) if end is not None]
    cards = tuple(change_card(each, sides) for each in found.images[:count] if each.change)
    explanation = "largest change of the image's own mean IoU"
    return {
        "key": key,
        "letters": (first, letter),
        "where": where,
        "names": () if where else found.names,
        "protocols": tuple(dict.fromkeys(found.protocols)),  # one if both are equal
        "verdict": verdict(found, letter, first),
        "caption": caption(found, seeds=not where),
        "measures": {MEASURE_NAMES[name]: each for name, each in found.measures.items()},
        "classes": found.class_iou,
        "reach": max(ends, default=0.0) or 0.01,  # limit of the axis
        "gallery": Gallery("Images with the largest changes", explanation, cards) if cards else None,
    }


def escape_markdown(text: str) -> str:
    """Text in which Markdown and HTML have no effect, on one line."""
    plain = re.sub(r"[<>&#~$]", lambda found: f"&#{ord(found[0])};", " ".join(shown(text, 2000).split()))
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; markup in values is escaped, except in Markdown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vocseg.report", "."),
        autoescape=lambda name: not str(name).endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": lambda path: Markup("/<wbr>").join(str(path).split("/")),
        "md": escape_markdown,
        "percent": lambda *args: typographic(percent(*args)),
        "points": lambda value: typographic(points(value)),
        "probability": lambda value: typographic(probability(value)),
    }
    return environment.get_template(template).render(values)
