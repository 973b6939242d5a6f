"""The tool `python -m vocseg report`: everything about runs on one page that opens from disk."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vocseg.compare import Across, check_names
from vocseg.errors import UserError
from vocseg.report.comparing import Side, comparisons_of
from vocseg.report.pictures import Pictures
from vocseg.report.recorded import RecordedRun, read_run
from vocseg.report.running import run_view
from vocseg.views.report import ERROR_LEGEND, PageView, render_page
from vocseg.whole_files import write_whole

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
    sides = [Side(*each) for each in zip(letters, pictures, strict=True)]
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


def _pictures(run: RecordedRun, root: Path | None) -> Pictures | None:
    return Pictures(run.evidence, run.folder, root) if run.evidence is not None else None


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as fault:
        raise UserError(f"--output {path} cannot be written ({fault.strerror}): name another file") from fault
