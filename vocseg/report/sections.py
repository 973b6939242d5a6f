"""Sections of the page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vocseg import __version__
from vocseg.data.classes import numbered_classes
from vocseg.metrics.aggregate import TRIMAP, error_budget
from vocseg.metrics.bootstrap import ScoreIntervals, score_intervals
from vocseg.metrics.boundary import WIDTH
from vocseg.metrics.protocol import Protocol
from vocseg.report.charts import Chart, chart
from vocseg.report.load_run import LoadedRun
from vocseg.report.page_parts import BudgetPart, ClassBar, Figure
from vocseg.report.saved_scores import budget_from, intervals_from
from vocseg.utils.json_values import INPUT_RESOLUTION
from vocseg.visualization.tables import MEASURE_NAMES

_NETWORK = "mean IoU at the network's size"


def kind_of(run: LoadedRun) -> str:
    """What was scored, in words."""
    protocol = run.protocol
    if protocol is None:
        return "in training, at the network's size"
    way = f"{'in' if protocol.windows else 'at'} {protocol.views}"
    if protocol.resolution == "original":
        return f"every image at its own size, predicted {way}"
    return ("after fine-tuning, " if run.primary == "after" else "") + f"images and masks {way}"


def facts_of(run: LoadedRun) -> tuple[tuple[str, str], ...]:
    """Pairs of name and value; what is not known is left out."""
    return tuple((name, str(value)) for name, value in _facts(run) if value not in (None, "", {}))


def _facts(run: LoadedRun) -> Iterator[tuple[str, Any]]:
    weights, model = run.scores.get("weights") or {}, run.settings.get("model") or {}
    yield "folder", run.folder.resolve()
    if run.protocol is not None:
        yield from _protocol(run.protocol)
    network = [weights.get(name) or model.get(name) for name in ("arch", "encoder")]
    yield "network", " with ".join(str(name) for name in network if name)
    yield "started from" if run.primary == "after" else "weights", weights.get("path")
    yield "trained in", run.curves.folder.resolve() if run.curves is not None else None
    if model:
        yield "training", _training(run.settings)
    loss = next(
        (each["loss"] for name in (INPUT_RESOLUTION, "after") if (each := run.scores.get(name))), None
    )
    yield "loss at the network's size", None if loss is None else f"{loss:.3f}"
    yield "scored by vocseg", weights.get("vocseg")
    yield "page made by vocseg", __version__


def _protocol(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """All of the protocol: scores are comparable if all of this agrees."""
    original = protocol.resolution == "original"
    yield "images", f"{protocol.images:,} of the list '{protocol.split}'"
    yield "fingerprint of the data", protocol.fingerprint
    yield "scored at", "every image's own size" if original else "the network's size"
    yield "network sees", f"{protocol.size}x{protocol.size} pixels"
    yield "windows", protocol.windows or "none: every image is resized whole"
    yield "test-time augmentation", protocol.tta or "none"


def _training(settings: Mapping[str, Any]) -> str:
    """The settings that matter most."""
    data, trainer, model = (settings.get(name) or {} for name in ("data", "trainer", "model"))
    parts = [
        f"list '{data.get('train_split')}'",
        f"{trainer.get('max_epochs')} epochs",
        f"batches of {data.get('batch_size')}",
        f"learning rate {model.get('lr')}",
        f"augmentation {data.get('augmentation')}",
        f"seed {settings.get('seed_everything')}",
    ]
    return ", ".join(part for part in parts if "None" not in part)


def further_figures(run: LoadedRun) -> tuple[Figure, ...]:
    """What else was scored: at the network's size, without fault, before fine-tuning, by calibration."""
    found = [
        _mean_iou(run, INPUT_RESOLUTION, _NETWORK, _network_note(run)),
        _mean_iou(run, "before", "mean IoU before fine-tuning", "on the same images"),
    ]
    if ceiling := run.scores.get("ceiling"):
        size = run.protocol.size if run.protocol else 0
        note = f"the most that predicting at {size}x{size} allows"
        found.append(Figure("ceiling of mean IoU", ceiling["mean_iou"], note=note))
    if known := run.calibration:
        note = "probability against how often it is right; 0 is best"
        found.append(Figure("expected calibration error", known.error, note=note))
    return tuple(each for each in found if each is not None)


def _mean_iou(run: LoadedRun, key: str, name: str, note: str) -> Figure | None:
    score = run.scores.get(key)
    if not score or key == run.primary:
        return None
    known = intervals_from(score["intervals"]).measures["mean_iou"]
    return Figure(name, known.estimate, known.low, known.high, note)


def _network_note(run: LoadedRun) -> str:
    windows = run.protocol is not None and run.protocol.windows
    return "resized whole, without windows" if windows else "the same predictions, on resized masks"


def name_of(folder: Path) -> str:
    """What a folder of runs is called in a heading: verb and version."""
    parts = folder.resolve().parts[-2:]
    return " / ".join(part for part in parts if part != "/")


NOTES = {
    "mean_iou": "over the classes, background among them",
    "pixel_accuracy": "labelled pixels that are right",
    "mean_class_accuracy": "true pixels found, averaged over classes",
    "frequency_weighted_iou": "IoU, frequent classes counting more",
    TRIMAP: "of the pixels near a boundary alone",
}
_BUDGET = {
    "boundary": (
        "near a boundary",
        f"wrong pixels within {WIDTH} pixels of another label, whatever they were taken for",
    ),
    "background_for_object": ("objects invented", "background taken for an object"),
    "object_for_background": ("objects missed", "an object taken for background"),
    "another_class": ("classes confused", "an object taken for one of another class"),
}
_CHARTS = (
    ("loss", "loss", False),
    ("mean IoU, %", "miou", True),
    ("pixel accuracy, %", "pixel_accuracy", True),
)


def intervals_of(run: LoadedRun) -> ScoreIntervals | None:
    """The run's figures with 95 % intervals."""
    if run.score:
        return intervals_from(run.score["intervals"])
    return None if run.images is None else score_intervals(run.images)


def figures_of(known: ScoreIntervals) -> tuple[Figure, ...]:
    """Mean IoU first."""
    return tuple(
        Figure(MEASURE_NAMES[name], each.estimate, each.low, each.high, NOTES[name])
        for name, each in known.measures.items()
    )


def bars_of(run: LoadedRun, known: ScoreIntervals | None) -> tuple[ClassBar, ...]:
    """The classes' IoU; of a run that only trained, that of its best epoch."""
    colours = colours_of(run)
    if known is not None:
        return tuple(
            ClassBar(k, name, colours[k], each.estimate, each.low, each.high, known.images.get(name))
            for k, (name, each) in enumerate(known.class_iou.items())
        )
    if run.curves is None:
        return ()
    best = run.curves.best_epoch()
    values = ((name, run.curves.at(f"per_class_iou/{name}", best)) for name in run.curves.classes)
    return tuple(ClassBar(k, name, colours[k], value) for k, (name, value) in enumerate(values))


def colours_of(run: LoadedRun) -> Sequence[str]:
    """CSS colours of the classes: the run's, else VOC's, which fit where names are VOC's."""
    if run.evidence is not None:
        palette: Sequence[tuple[int, int, int]] = run.evidence.origin.colours
    else:
        named = dict(zip(numbered_classes(21).names, numbered_classes(21).colours, strict=True))
        palette = [named.get(name, (128, 128, 128)) for name in run.classes]
    return [css(colour) for colour in palette]


def css(colour: Sequence[int]) -> str:
    """`#rrggbb`."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def budget_of(run: LoadedRun) -> tuple[BudgetPart, ...]:
    """What keeps mean IoU from 1."""
    if run.score:
        shares = budget_from(run.score["error_budget"])
    elif run.images is not None and run.images.matrices.any():
        whole = error_budget(run.images.total(), run.images.classes, run.images.total_band())
        shares = budget_from(whole.as_dict())
    else:
        return ()
    return tuple(BudgetPart(kind, *_BUDGET[kind], lost) for kind, lost in shares.items())


def charts_of(run: LoadedRun) -> tuple[Chart, ...]:
    """Loss, mean IoU, accuracy by epoch for train and val, and the learning rates."""
    if run.curves is None:
        return ()
    series, best = run.curves.series, run.curves.best_epoch()
    found = [
        chart(title, {stage: series.get(f"{name}/{stage}", ()) for stage in ("train", "val")}, percent, best)
        for title, name, percent in _CHARTS
    ]
    rates = {name.removeprefix("lr-"): points for name, points in series.items() if name.startswith("lr-")}
    found.append(chart("learning rate", rates, percent=False))
    return tuple(each for each in found if each is not None)
