"""Sections of the page."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vocseg import __version__
from vocseg.commands.compare import read_groups
from vocseg.constants import INPUT_RESOLUTION
from vocseg.data.classes import numbered_classes
from vocseg.errors import UserError
from vocseg.metrics.aggregate import TRIMAP, WIDTH, ErrorBudget, error_budget
from vocseg.metrics.bootstrap import Interval, ScoreIntervals, score_intervals
from vocseg.metrics.paired_test import Comparison, ImageChange, compare_groups
from vocseg.metrics.per_image import Protocol
from vocseg.metrics.run_groups import check_comparable
from vocseg.report.charts import Chart, chart, epoch_range
from vocseg.report.images import (
    Card,
    Gallery,
    ImageTriplet,
    PageImage,
    RunImages,
    css,
    image_card,
    mask_uri,
    page_image,
)
from vocseg.report.load_run import LoadedRun
from vocseg.visualization.tables import MEASURE_NAMES, caption, percent, points, typographic, verdict

_NOTES = {
    "mean_iou": "over the classes, background included",
    "pixel_accuracy": "correct fraction of the labelled pixels",
    "mean_class_accuracy": "correct fraction of a class's pixels, mean over classes",
    "frequency_weighted_iou": "IoU weighted by the classes' pixels",
    TRIMAP: "of the pixels near a boundary",
}
_BUDGET = {
    "boundary": ("near a boundary", f"wrong pixels within {WIDTH} pixels of another label"),
    "background_for_object": ("false positives", "background predicted as object"),
    "object_for_background": ("false negatives", "object predicted as background"),
    "another_class": ("wrong classes", "object predicted as another class"),
}
_CHARTS = (
    ("loss", "loss", False),
    ("mean IoU, %", "miou", True),
    ("pixel accuracy, %", "pixel_accuracy", True),
)


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


class BudgetPart(NamedTuple):
    """A part of 1 - mean IoU; `kind` selects its colour."""

    kind: str
    name: str
    explanation: str
    lost: float


def kind_of(run: LoadedRun) -> str:
    """Resolution of the scored pixels and input of the network."""
    protocol = run.protocol
    if protocol is None:
        return "validation in training, at input resolution"
    way = f"{'in' if protocol.windows else 'at'} {protocol.views}"
    if protocol.resolution == "original":
        return f"at original resolution, predicted {way}"
    return ("after fine-tuning, " if run.primary == "after" else "") + f"images and masks {way}"


def facts_of(run: LoadedRun) -> tuple[tuple[str, str], ...]:
    """Known pairs of name and value."""
    return tuple((name, str(value)) for name, value in _facts(run) if value not in (None, "", {}))


def _facts(run: LoadedRun) -> Iterator[tuple[str, Any]]:
    weights, model = run.scores.get("weights") or {}, run.settings.get("model") or {}
    yield "folder", run.folder.resolve()
    if run.protocol is not None:
        yield from protocol_facts(run.protocol)
    network = [weights.get(name) or model.get(name) for name in ("arch", "encoder")]
    yield "network", " with ".join(str(name) for name in network if name)
    yield "started from" if run.primary == "after" else "weights", weights.get("path")
    yield "trained in", run.curves.folder.resolve() if run.curves is not None else None
    if model:
        yield "training", _training(run.settings)
    score = run.scores.get(INPUT_RESOLUTION) or run.scores.get("after")
    loss = score["loss"] if score else None
    yield "loss at input resolution", None if loss is None else f"{loss:.3f}"
    yield "scored by vocseg", weights.get("vocseg")
    yield "page by vocseg", __version__


def protocol_facts(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """Pairs of name and value of a protocol."""
    original = protocol.resolution == "original"
    yield "images", f"{protocol.images:,} of the split '{protocol.split}'"
    yield "data fingerprint", protocol.fingerprint
    yield "scored at", "original resolution" if original else "input resolution"
    yield "input resolution", f"{protocol.size}x{protocol.size}"
    yield "sliding windows", protocol.windows or "none: images are resized"
    yield "test-time augmentation", protocol.tta or "none"


def _training(settings: Mapping[str, Any]) -> str:
    data, trainer, model = (settings.get(name) or {} for name in ("data", "trainer", "model"))
    parts = {
        f"split '{data.get('train_split')}'": data.get("train_split"),
        f"{trainer.get('max_epochs')} epochs": trainer.get("max_epochs"),
        f"batch size {data.get('batch_size')}": data.get("batch_size"),
        f"learning rate {model.get('lr')}": model.get("lr"),
        f"augmentation {data.get('augmentation')}": data.get("augmentation"),
        f"seed {settings.get('seed_everything')}": settings.get("seed_everything"),
    }
    return ", ".join(part for part, value in parts.items() if value is not None)


def further_figures(run: LoadedRun) -> Iterator[Figure]:
    """Score at input resolution, score before fine-tuning and upper bound, where known."""
    windows = run.protocol is not None and run.protocol.windows
    note = "images resized, without windows" if windows else "the same predictions, on resized masks"
    others = (
        (INPUT_RESOLUTION, "mean IoU at input resolution", note),
        ("before", "mean IoU before fine-tuning", "on the same images"),
    )
    for key, name, note in others:
        if (score := run.scores.get(key)) and key != run.primary:
            yield Figure(name, ScoreIntervals.from_dict(score["intervals"]).measures["mean_iou"], note)
    if bound := run.scores.get("ceiling"):
        size = run.protocol.size if run.protocol else 0
        note = f"a perfect prediction at {size}x{size}"
        yield Figure("upper bound of mean IoU", Interval(bound["mean_iou"]), note)


def calibration_figure(run: LoadedRun) -> Iterator[Figure]:
    """Expected calibration error, where known."""
    if known := run.calibration:
        note = "mean gap between confidence and accuracy; 0 is best"
        yield Figure("expected calibration error", Interval(known.error), note)


def intervals_of(run: LoadedRun) -> ScoreIntervals | None:
    """Metrics of the main score with 95 % intervals."""
    if run.score:
        return ScoreIntervals.from_dict(run.score["intervals"])
    return None if run.images is None else score_intervals(run.images)


def validation_figures(run: LoadedRun) -> tuple[Figure, ...]:
    """Best and last validation of a run without a score."""
    if run.curves is None:
        return (Figure("mean IoU", Interval(None)),)
    curves, best, last = run.curves, run.curves.best_epoch(), run.curves.last_epoch()
    note = "" if best is None else f"of epoch {best:g}, the best of {last:g}"
    return (
        Figure("mean IoU", Interval(curves.at("miou/val", best)), note),
        Figure("pixel accuracy", Interval(curves.at("pixel_accuracy/val", best)), "of the same epoch"),
        Figure("mean IoU", Interval(curves.at("miou/val", last)), "of the last epoch"),
    )


def figures_of(known: ScoreIntervals) -> tuple[Figure, ...]:
    """Totals, mean IoU first."""
    return tuple(Figure(MEASURE_NAMES[name], each, _NOTES[name]) for name, each in known.measures.items())


def bars_of(run: LoadedRun, known: ScoreIntervals | None) -> tuple[ClassBar, ...]:
    """IoU of the classes; without a score, that of the best epoch."""
    if known is not None:
        ious, images = known.class_iou, known.images
    elif run.curves is not None:
        best, curves = run.curves.best_epoch(), run.curves
        ious = {name: Interval(curves.at(f"per_class_iou/{name}", best)) for name in curves.classes}
        images = {}
    else:
        return ()
    pairs = zip(_colours(run), ious.items(), strict=True)
    return tuple(ClassBar(name, colour, iou, images.get(name)) for colour, (name, iou) in pairs)


def _colours(run: LoadedRun) -> Sequence[str]:
    """CSS colours of the classes: the run's, or VOC's for VOC's names."""
    if run.label_errors is not None:
        palette: Sequence[tuple[int, int, int]] = run.label_errors.origin.colours
    else:
        named = dict(zip(numbered_classes(21).names, numbered_classes(21).colours, strict=True))
        palette = [named.get(name, (128, 128, 128)) for name in run.classes]
    return [css(colour) for colour in palette]


def budget_of(run: LoadedRun) -> tuple[BudgetPart, ...]:
    """Parts of 1 - mean IoU."""
    if run.score:
        budget = ErrorBudget.from_dict(run.score["error_budget"])
    elif run.images is not None and run.images.matrices.any():
        budget = error_budget(run.images.total(), run.images.classes, run.images.total_band())
    else:
        return ()
    return tuple(
        BudgetPart(kind, *_BUDGET[kind], lost) for kind, lost in budget.as_dict().items() if lost is not None
    )


def charts_of(run: LoadedRun) -> tuple[Chart, ...]:
    """Loss, mean IoU and accuracy by epoch for train and val, and the learning rates."""
    if run.curves is None:
        return ()
    series, best = run.curves.series, run.curves.best_epoch()
    drawn = {
        (title, percent): {stage: series.get(f"{name}/{stage}", ()) for stage in ("train", "val")}
        for title, name, percent in _CHARTS
    }
    rates = {name.removeprefix("lr-"): points for name, points in series.items() if name.startswith("lr-")}
    drawn["learning rate", False] = rates
    if not (known := [points for lines in drawn.values() for points in lines.values() if points]):
        return ()
    epochs = epoch_range(known)
    charts = (
        chart(title, lines, percent, None if lines is rates else best, epochs)
        for (title, percent), lines in drawn.items()
    )
    return tuple(each for each in charts if each is not None)


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
            groups = read_groups([names[0], name])
            check_comparable(groups, across)
        except UserError as error:
            lacking.append(error.sentence)
            continue
        one = compare_groups(groups[0], groups[1], across=across)
        found.append(
            _comparison_view(one, (sides[0], side), count, f"compare-{side.letter}", "on the same images")
        )
    return found, lacking


def finetuning_of(run: LoadedRun, key: str, count: int) -> dict[str, Any] | None:
    """Comparison before and after fine-tuning in `scores.json`; None without it."""
    if run.comparison is None:
        return None
    sides = ComparedRun("before"), ComparedRun("after")
    return _comparison_view(run.comparison, sides, count, f"{key}-changes", "fine-tuning, on the same images")


def _comparison_view(
    found: Comparison, sides: tuple[ComparedRun, ComparedRun], count: int, key: str, where: str
) -> dict[str, Any]:
    """Values of the template of a comparison; `key`: anchor of its section."""
    first, letter = (side.letter for side in sides)
    intervals = [each.difference for each in found.class_iou.values()]
    ends = [abs(end) for each in intervals for end in (each.low, each.high, each.estimate) if end is not None]
    cards = tuple(
        _change_card(each, sides) for each in [each for each in found.images if each.change][:count]
    )
    explanation = "largest change of the image's own mean IoU"
    return {
        "key": key,
        "letters": (first, letter),
        "where": where,
        "names": () if found.names == (first, letter) else found.names,
        "protocols": tuple(dict.fromkeys(found.protocols)),  # one if both are equal
        "verdict": verdict(found, letter, first),
        "caption": caption(found, seeds=first == "A"),
        "measures": {MEASURE_NAMES[name]: each for name, each in found.measures.items()},
        "classes": found.class_iou,
        "reach": max(ends, default=0.0) or 0.01,  # limit of the axis
        "gallery": Gallery("Images with the largest changes", explanation, cards) if cards else None,
    }


def _change_card(change: ImageChange, sides: tuple[ComparedRun, ComparedRun]) -> Card:
    def predictions(triplet: ImageTriplet) -> list[PageImage]:
        found = []
        for letter, images in sides:
            own = images.triplet(change.id) if images is not None else None
            if images is not None and own is not None:
                uri = mask_uri(own.prediction, images.classes)
                found.append(page_image(f"prediction of {letter}", uri, f"prediction of {letter}", triplet))
        return found

    (first, before), (letter, after) = sides
    fact = f"mIoU of the image: {first} {percent(change.before)} %, {letter} {percent(change.after)} %"
    shown = image_card(change.id, after or before, predictions)
    return Card(change.id, f"{typographic(points(change.change))} points", (fact,), *shown)
