"""From what a run left to what the page shows of it: figures, classes, matrix, budget, curves."""

from collections.abc import Sequence

from vocseg.classes import numbered_classes
from vocseg.report.kept import budget_from, intervals_from
from vocseg.report.recorded import RecordedRun
from vocseg.scores.bands import WIDTH
from vocseg.scores.intervals import ScoreIntervals, score_intervals
from vocseg.scores.measures import TRIMAP, error_budget
from vocseg.views.intervals import MEASURE_NAMES
from vocseg.views.report.charts import Chart, chart
from vocseg.views.report.parts import BudgetPart, ClassBar, Figure

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


def intervals_of(run: RecordedRun) -> ScoreIntervals | None:
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


def bars_of(run: RecordedRun, known: ScoreIntervals | None) -> tuple[ClassBar, ...]:
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


def colours_of(run: RecordedRun) -> Sequence[str]:
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


def budget_of(run: RecordedRun) -> tuple[BudgetPart, ...]:
    """What keeps mean IoU from 1."""
    if run.score:
        shares = budget_from(run.score["error_budget"])
    elif run.images is not None and run.images.matrices.any():
        whole = error_budget(run.images.total(), run.images.classes, run.images.total_band())
        shares = budget_from(whole.as_dict())
    else:
        return ()
    return tuple(BudgetPart(kind, *_BUDGET[kind], lost) for kind, lost in shares.items())


def charts_of(run: RecordedRun) -> tuple[Chart, ...]:
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
