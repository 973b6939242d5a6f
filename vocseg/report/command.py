"""`report`: pages of runs and of comparisons."""

import base64
import hashlib
import shlex
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from vocseg.commands.compare import Across, check_names
from vocseg.errors import UserError
from vocseg.report import sections
from vocseg.report.charts import reliability
from vocseg.report.images import RunImages, galleries_of, label_error_gallery
from vocseg.report.load_run import LoadedRun, read_run
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.confusion import matrix_view
from vocseg.visualization.draw import ERRORS
from vocseg.visualization.tables import percent, points, probability, typographic

_MOST_IMAGES = 24  # of each kind
_MOST_CARDS = 160  # over all runs and kinds, to limit the size of the page
_KINDS = 5  # worst, median, best, label-error candidates, largest changes
_MEANINGS = {
    "false negative": "object predicted as background",
    "false positive": "background predicted as object",
    "wrong class": "object predicted as another class",
}
_SECTIONS = (  # value of the template, suffix of the anchor, title
    ("changes", "changes", "Fine-tuning"),
    ("bars", "classes", "Classes"),
    ("budget", "budget", "Errors"),
    ("reliability", "calibration", "Calibration"),
    ("matrix", "confusion", "Confusion"),
    ("galleries", "images", "Images"),
    ("label_errors", "label-errors", "Label errors"),
    ("charts", "curves", "Curves"),
)


class Note(NamedTuple):
    """A missing part with the remedy, and a command to type."""

    text: str
    command: str = ""


class Report(NamedTuple):
    """Path and size of a page."""

    path: Path
    megabytes: float


def report(
    runs: list[str],
    output: Path = Path("report.html"),
    root: Path | None = None,
    images: int = 8,
    allow_different: list[Across] | None = None,
) -> Report:
    """Write an HTML page of runs: scores, curves, classes, confusion, errors, images, label-error candidates.

    The page is a single file that works offline. Each RUN is the folder of a run of `test` or `validate`, or
    of `fit` or `finetune` (curves only). Several runs are compared with the first. Seeds of one recipe are
    joined by commas as for `compare`; the images of the first are shown. Runs that cannot be compared are
    shown separately, with the reason.

    Args:
        runs: Folders of the runs; also as positional arguments before all flags.
        output: HTML file to write.
        root: Folder of the data, if it moved since it was scored (as --data.root).
        images: Number of images of each kind: worst, median, best, label errors, largest changes; 0: none.
        allow_different: Protocol fields in which compared runs may differ: tta, windows, size.

    Raises:
        UserError: If a run is not valid.
    """
    start = time.perf_counter()
    if not runs:
        raise UserError("report needs a run. Pass a folder such as lightning_logs/test/version_0.")
    if not 0 <= images <= _MOST_IMAGES:
        raise UserError(f"--images {images}: must be 0 to {_MOST_IMAGES}.")
    if output.is_dir():
        raise UserError(f"--output {output} is a folder. Pass a file, such as {output / 'report.html'}.")
    count = min(images, max(1, _MOST_CARDS // (_KINDS * len(runs))))
    if count < images:
        print(f"showing {count} images of each kind, to limit the size of the page of {len(runs)} runs")
    text = _rendered(_page(runs, root, count, allow_different or ()))
    try:
        atomic_write(output, text)
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written: {error.strerror}. Pass another file."
        ) from error
    size = len(text) / 1e6
    print(f"wrote {output} ({size:.1f} MB, {time.perf_counter() - start:.1f} s): open it in a browser")
    return Report(output, size)


def _page(runs: list[str], root: Path | None, count: int, across: Sequence[Across]) -> dict[str, Any]:
    """Values of the template of the page; prints the reasons for missing comparisons."""
    loaded = [read_run(name, Path(name) if Path(name).exists() else check_names(name)[0]) for name in runs]
    images = [RunImages(k.label_errors, k.folder, root) if k.label_errors else None for k in loaded]
    letters = [chr(ord("A") + k) if k < 26 else f"A{k - 25}" for k in range(len(runs))]
    sides = [sections.ComparedRun(*each) for each in zip(letters, images, strict=True)]
    compared, lacking = sections.comparisons_of(runs, sides, count, across)
    for sentence in lacking:
        print(f"not compared: {sentence}")
    views = [
        _run_view(run, letter if len(runs) > 1 else "", each, count)
        for run, letter, each in zip(loaded, letters, images, strict=True)
    ]
    return {
        "title": views[0]["name"] if len(views) == 1 else f"{len(views)} runs{' compared' * bool(compared)}",
        "runs": views,
        "comparisons": compared,
        "lacking": lacking,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "errors": [(f"rgb{ERRORS[name]}".replace(" ", ""), name, text) for name, text in _MEANINGS.items()],
    }


def _run_view(run: LoadedRun, letter: str, images: RunImages | None, count: int) -> dict[str, Any]:
    """Values of the template of a run, with `count` images of each kind; `letter`: its short name."""
    key, known, matrix = f"run-{letter or 'A'}", sections.intervals_of(run), run.matrix
    main, *figures = sections.figures_of(known) if known else sections.validation_figures(run)
    best = run.curves.best_epoch() if run.curves is not None else None
    name = " / ".join(part for part in run.folder.resolve().parts[-2:] if part != "/")
    view: dict[str, Any] = {
        "key": key,  # prefix of the anchors
        "letter": letter,
        "name": name + (", one of several seeds" if Path(run.name) != run.folder else ""),
        "kind": sections.kind_of(run),
        "main": main,
        "warning": (known and known.warning) or "",
        "figures": (*figures, *sections.further_figures(run)),
        "facts": sections.facts_of(run),
        "bars": sections.bars_of(run, known),
        "bars_note": "" if known else "Validation of the best epoch.",
        "matrix": None if matrix is None or not matrix.any() else matrix_view(matrix, run.classes),
        "budget": sections.budget_of(run),
        "galleries": galleries_of(run, images, count),
        "label_errors": label_error_gallery(run, images, count),
        "charts": sections.charts_of(run),
        "charts_note": "" if best is None else f"Vertical line: epoch {best:g}, the best validation mIoU.",
        "reliability": reliability(run.calibration) if run.calibration else None,
        "changes": sections.finetuning_of(run, key, count),
    }
    view["notes"] = list(_notes(run, images))  # after the galleries, which find missing images
    view["sections"] = [section for part, *section in _SECTIONS if view[part]]
    return view


def _notes(run: LoadedRun, images: RunImages | None) -> Iterator[Note]:
    """Missing parts, with the remedy."""
    score = "Score the weights, and report on the folder of that run:"
    if run.matrix is None:
        lacking = "No per-image scores, so there are no intervals, confusion matrix or images."
        yield Note(f"{lacking} {score}", _test_command(run))
        return
    if run.images is None:
        yield Note(f"No per-image scores, so there are no images. {score}", _test_command(run))
    elif run.label_errors is None and run.primary == "after":
        lacking = "Fine-tuning saves no predictions, so there are no images or label errors."
        yield Note(f"{lacking} {score}", _test_command(run))
    elif run.label_errors is None:
        lacking = "No predictions were saved (--original_resolution.save_predictions false), so there are no"
        yield Note(f"{lacking} images or label errors. {score}", _test_command(run))
    if run.curves is None:
        yield Note("The run that trained these weights was not found, so there are no curves.")
    if images is not None and images.missing:
        reason = next(iter(images.missing.values()))
        count = len(images.missing)
        yield Note(
            f"{count} images could not be shown ({reason}). If the data moved, pass its folder with --root."
        )


def _test_command(run: LoadedRun) -> str:
    """The command that scores the weights of a run."""
    scored = (run.scores.get("weights") or {}).get("path") if run.primary != "after" else None
    words = ["--ckpt_path", str(scored or run.folder / "unet_voc.pth")]
    if root := (run.settings.get("data") or {}).get("root"):
        words += ["--data.root", str(root)]
    return f"python -m vocseg test {shlex.join(words)}"


def _rendered(page: dict[str, Any]) -> str:
    """HTML as ASCII text, which is valid in any encoding."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vocseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": lambda path: Markup("/<wbr>").join(str(path).split("/")),
        "percent": lambda *args: typographic(percent(*args)),
        "points": lambda value: typographic(points(value)),
        "probability": lambda value: typographic(probability(value)),
    }
    here = resources.files("vocseg.report")
    style, script = (
        Markup(_unindented((here / name).read_text("utf-8"))) for name in ("style.css", "script.js")
    )
    # The page's content security policy allows no request, and no script with another digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html.j2").render(
        page=page, style=style, script=script, script_hash=digest
    )
    return _unindented(text).encode("ascii", "xmlcharrefreplace").decode()


def _unindented(text: str) -> str:
    """Text without indentation and empty lines, which a browser does not need."""
    return "\n".join(filter(None, map(str.strip, text.splitlines())))
