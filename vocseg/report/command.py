"""`report`: HTML page of a scored run."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vocseg.commands.compare import Across, check_names
from vocseg.errors import UserError
from vocseg.metrics.label_errors import CONFIDENT
from vocseg.report.comparison import ComparedRun, comparisons_of, finetuning_of
from vocseg.report.images import Pictures, galleries_of, suspects_of
from vocseg.report.load_run import LoadedRun, read_run
from vocseg.report.page import ERROR_LEGEND, render_page
from vocseg.report.page_parts import Figure, PageView, RunView
from vocseg.report.reliability_diagram import reliability
from vocseg.report.sections import (
    bars_of,
    budget_of,
    charts_of,
    facts_of,
    figures_of,
    further_figures,
    intervals_of,
    kind_of,
    name_of,
)
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.confusion import matrix_view

_SUSPECTS = (
    "Connected regions in which the network gives another class than the label a probability of at least "
    f"{100 * CONFIDENT:.0f} %, the largest first. Either the label is wrong or the network is blind to "
    "something: look, and decide. Void counts nowhere."
)


def run_view(run: LoadedRun, letter: str, pictures: Pictures | None, count: int) -> RunView:
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


def _trained_figures(run: LoadedRun) -> tuple[Figure, ...]:
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


def _charts_note(run: LoadedRun) -> str:
    best = run.curves.best_epoch() if run.curves is not None else None
    return "" if best is None else f"The vertical line marks epoch {best:g}, the best by validation mIoU."


def _notes(run: LoadedRun, pictures: Pictures | None) -> Iterator[str]:
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
            "No predictions were saved (--original_resolution.save_predictions false). Images and label "
            "errors need them: score again with `test`."
        )
    if run.curves is None:
        yield "The run that trained these weights was not found, so there are no curves."
    if pictures is not None and pictures.missing:
        reason = next(iter(pictures.missing.values()))
        yield (
            f"{len(pictures.missing)} images could not be shown ({reason}). If the data moved, name its "
            "folder with --root."
        )


_MOST_IMAGES = 24  # of each kind, so that the page stays small enough to be sent
_MOST_CARDS = 160  # over all runs and kinds
_KINDS = 5  # worst, middle, best, suspects, most changed


class Report(NamedTuple):
    """Where the page is, and how large."""

    path: Path
    megabytes: float


def report(
    runs: list[str],
    output: Path = Path("report.html"),
    root: Path | None = None,
    images: int = 8,
    across: list[Across] | None = None,
) -> Report:
    """Write one page about runs: scores, curves, classes, confusion, errors, images, suspicious labels.

    The page is a single file that needs no network. Each RUN is the folder of a run of `test` or
    `validate`, or of `fit` or `finetune` (curves alone). Several are compared with the first; seeds of one
    recipe are joined by commas as for `compare`, and then the first of them is shown image by image. Runs
    that cannot be compared are shown beside each other, and the page says why.

    Args:
        runs: What to report on; may be given without `--runs`, before all flags.
        output: The page.
        root: Where the data lies, if it moved since it was scored (as --data.root).
        images: How many of each kind to show: worst, middle, best, suspects, most changed; 0: none.
        across: Ways of predicting in which compared runs may differ: tta, windows, size.

    Raises:
        UserError: If a run is no run's folder or damaged.
    """
    start = time.perf_counter()
    _check(runs, output, images)
    text = render_page(_page(runs, root, _shown(images, len(runs)), across or ()))
    _write(output, text)
    size = len(text) / 1e6
    print(f"wrote {output} ({size:.1f} MB, {time.perf_counter() - start:.1f} s): open it in a browser")
    return Report(output, size)


def _check(runs: list[str], output: Path, images: int) -> None:
    if not runs:
        raise UserError("report needs a run: name a folder such as lightning_logs/test/version_0")
    if not 0 <= images <= _MOST_IMAGES:
        raise UserError(f"--images {images}: take a number from 0 to {_MOST_IMAGES}")
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: name a file, as {output / 'report.html'}")


def _shown(images: int, runs: int) -> int:
    """How many of each kind are shown: fewer than asked for where there are many runs."""
    count = min(images, max(1, _MOST_CARDS // (_KINDS * runs)))
    if count < images:
        print(f"showing {count} images of each kind, so that the page of {runs} runs stays small")
    return count


def _page(runs: list[str], root: Path | None, count: int, across: Sequence[Across]) -> PageView:
    """What the page says; why runs are not compared is printed too."""
    read = [read_run(name, _folder(name)) for name in runs]
    pictures = [_pictures(run, root) for run in read]
    letters = [chr(ord("A") + k) if k < 26 else f"A{k - 25}" for k in range(len(read))]
    sides = [ComparedRun(*each) for each in zip(letters, pictures, strict=True)]
    compared, lacking = comparisons_of(runs, sides, count, across)
    for sentence in lacking:
        print(f"not compared: {sentence}")
    views = tuple(
        run_view(run, letter if len(read) > 1 else "", each, count)
        for run, letter, each in zip(read, letters, pictures, strict=True)
    )
    several = f"{len(views)} runs{' compared' if compared else ''}"
    title = views[0].name if len(views) == 1 else several
    return PageView(title, views, compared, lacking, time.strftime("%Y-%m-%d %H:%M"), ERROR_LEGEND)


def _folder(name: str) -> Path:
    """The run's folder; of seeds joined by commas, the first's."""
    return Path(name) if Path(name).exists() else check_names(name)[0]


def _pictures(run: LoadedRun, root: Path | None) -> Pictures | None:
    return Pictures(run.evidence, run.folder, root) if run.evidence is not None else None


def _write(path: Path, text: str) -> None:
    try:
        atomic_write(path, text)
    except OSError as fault:
        raise UserError(f"--output {path} cannot be written ({fault.strerror}): name another file") from fault
