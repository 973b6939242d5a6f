"""`report`: pages of runs and of comparisons."""

import base64
import hashlib
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vocseg.commands.compare import Across, check_names
from vocseg.errors import UserError
from vocseg.metrics.aggregate import WIDTH
from vocseg.report.images import RunImages
from vocseg.report.load_run import read_run
from vocseg.report.sections import ComparedRun, comparisons_of, render, run_view
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import ERRORS

_MOST_IMAGES = 24  # of each kind
_MOST_CARDS = 160  # over all runs and kinds, to limit the size of the page
_KINDS = 5  # worst, median, best, label-error candidates, largest changes
_MEANINGS = {
    "false negative": "object predicted as background",
    "false positive": "background predicted as object",
    "wrong class": "object predicted as another class",
}
_BUDGET = {  # name and explanation of the parts of the error budget
    "boundary": ("near a boundary", f"wrong pixels within {WIDTH} pixels of another label"),
    "background_for_object": ("false positives", "background predicted as object"),
    "object_for_background": ("false negatives", "object predicted as background"),
    "another_class": ("wrong classes", "object predicted as another class"),
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


def report(
    runs: list[str],
    output: Path = Path("report.html"),
    root: Path | None = None,
    images: int = 8,
    allow_different: list[Across] | None = None,
) -> Path:
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

    Returns:
        The page.

    Raises:
        UserError: If a run is not valid.
    """
    if not runs:
        raise UserError("report needs a run. Pass a folder such as lightning_logs/test/version_0.")
    if not 0 <= images <= _MOST_IMAGES:
        raise UserError(f"--images {images}: must be 0 to {_MOST_IMAGES}.")
    count = min(images, max(1, _MOST_CARDS // (_KINDS * len(runs))))
    if count < images:
        print(f"showing {count} images of each kind, to limit the size of the page of {len(runs)} runs")
    text = _rendered(_page(runs, root, count, allow_different or ()))
    atomic_write(output, text)
    print(f"wrote {output} ({len(text) / 1e6:.1f} MB): open it in a browser")
    return output


def _page(runs: list[str], root: Path | None, count: int, across: Sequence[Across]) -> dict[str, Any]:
    """Values of the template of the page; prints the reasons for missing comparisons."""
    loaded = [read_run(Path(name) if Path(name).exists() else check_names(name)[0]) for name in runs]
    images = [RunImages(k.label_errors, k.folder, root) if k.label_errors else None for k in loaded]
    letters = [chr(ord("A") + k) if k < 26 else f"A{k - 25}" for k in range(len(runs))]
    sides = [ComparedRun(*each) for each in zip(letters, images, strict=True)]
    compared, lacking = comparisons_of(runs, sides, count, across)
    for sentence in lacking:
        print(f"not compared: {sentence}")
    views = [
        run_view(run, letter if len(runs) > 1 else "", each, count)
        for run, letter, each in zip(loaded, letters, images, strict=True)
    ]
    return {
        "title": views[0]["name"] if len(views) == 1 else f"{len(views)} runs{' compared' * bool(compared)}",
        "runs": views,
        "sections": _SECTIONS,
        "comparisons": compared,
        "lacking": lacking,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "budget": _BUDGET,
        "errors": [(f"rgb{ERRORS[name]}".replace(" ", ""), name, text) for name, text in _MEANINGS.items()],
    }


def _rendered(page: dict[str, Any]) -> str:
    """HTML as ASCII text, which is valid in any encoding."""
    from markupsafe import Markup

    here = resources.files("vocseg.report")
    style, script = (
        Markup(_unindented((here / name).read_text("utf-8"))) for name in ("style.css", "script.js")
    )
    # The page's content security policy allows no request, and no script with another digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = render("page.html.j2", page=page, style=style, script=script, script_hash=digest)
    return _unindented(text).encode("ascii", "xmlcharrefreplace").decode()


def _unindented(text: str) -> str:
    """Text without indentation and empty lines, which a browser does not need."""
    return "\n".join(filter(None, map(str.strip, text.splitlines())))
