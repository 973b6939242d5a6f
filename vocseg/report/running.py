"""Everything that the page shows of one run, and what it lacks."""

from collections.abc import Iterator
from pathlib import Path

from vocseg.report.comparing import finetuning_of
from vocseg.report.facts import facts_of, further_figures, kind_of, name_of
from vocseg.report.gallery import galleries_of, suspects_of
from vocseg.report.pictures import Pictures
from vocseg.report.recorded import RecordedRun
from vocseg.report.showing import bars_of, budget_of, charts_of, figures_of, intervals_of
from vocseg.scores.disagreement import CONFIDENT
from vocseg.views.report import Figure, RunView, matrix_view
from vocseg.views.report.reliability import reliability

_SUSPECTS = (
    "Connected regions in which the network gives another class than the label a probability of at least "
    f"{100 * CONFIDENT:.0f} %, the largest first. Either the label is wrong or the network is blind to "
    "something: look, and decide. Void counts nowhere."
)


def run_view(run: RecordedRun, letter: str, pictures: Pictures | None, count: int) -> RunView:
    """Lay a run out.

    Args:
        run: What was read.
        letter: What a comparison calls it; empty: there is none.
        pictures: Of its images; None: there are none.
        count: How many images of each kind to show.
    """
    key, known = f"run-{letter or 'A'}", intervals_of(run)
    matrix = run.matrix
    main, *figures = figures_of(known) if known else _trained_figures(run)
    galleries = galleries_of(run, pictures, count)
    suspects = suspects_of(run, pictures, count)
    return RunView(
        key=key,
        letter=letter,
        name=name_of(run.folder) + (", one of several seeds" if Path(run.name) != run.folder else ""),
        kind=kind_of(run),
        main=main,
        warning=(known and known.warning) or "",
        figures=(*figures, *further_figures(run)),
        facts=facts_of(run),
        notes=tuple(_notes(run, pictures)),
        bars=bars_of(run, known),
        bars_note="" if known else "Of the best epoch's validation in training.",
        matrix=None if matrix is None or not matrix.any() else matrix_view(matrix, run.classes),
        budget=budget_of(run),
        galleries=galleries,
        suspects=suspects,
        suspects_note=_SUSPECTS,
        charts=charts_of(run),
        charts_note=_charts_note(run),
        reliability=reliability(run.calibration) if run.calibration else None,
        changes=finetuning_of(run, key, count),
    )


def _trained_figures(run: RecordedRun) -> tuple[Figure, ...]:
    """Of a run that only trained: its best validation, and its last."""
    if run.curves is None:
        return (Figure("mean IoU", None),)
    best, last = run.curves.best_epoch(), run.curves.last_epoch()
    note = "" if best is None else f"of epoch {best:g}, the best of {last:g}"
    return (
        Figure("mean IoU", run.curves.at("miou/val", best), note=note),
        Figure("pixel accuracy", run.curves.at("pixel_accuracy/val", best), note="of the same epoch"),
        Figure("mean IoU", run.curves.at("miou/val", last), note="of the last epoch"),
    )


def _charts_note(run: RecordedRun) -> str:
    best = run.curves.best_epoch() if run.curves is not None else None
    return "" if best is None else f"The vertical line marks epoch {best:g}, the best by validation mIoU."


def _notes(run: RecordedRun, pictures: Pictures | None) -> Iterator[str]:
    """What is missing, and how to have it."""
    if run.matrix is None:
        yield (
            "This run trained and was not scored image by image: no intervals, confusion or images. Score "
            f"its weights (python -m vocseg test --ckpt_path {run.folder / 'unet_voc.pth'}), and report on "
            "the folder that this makes."
        )
        return
    if run.images is None:
        yield "No scores by image were kept, hence no intervals and no images: score with the verb test."
    elif run.evidence is None and run.primary == "after":
        yield (
            "Fine-tuning keeps no predictions, so images have no pictures and labels are not judged: score "
            f"its weights (python -m vocseg test --ckpt_path {run.folder / 'unet_voc.pth'}), and report on "
            "the folder that this makes."
        )
    elif run.evidence is None:
        yield (
            "No predictions were kept (an older run, or --full_size.evidence false), so images have no "
            "pictures and labels are not judged: score again with the verb test."
        )
    if run.curves is None:
        yield "The run that trained these weights was not found, so there are no curves."
    if pictures is not None and pictures.missing:
        reason = next(iter(pictures.missing.values()))
        yield (
            f"{len(pictures.missing)} images could not be shown ({reason}). If the data moved, name its "
            "folder with --root."
        )
