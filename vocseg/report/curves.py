"""`curves`: loss and mean IoU by epoch as an SVG file."""

from collections.abc import Mapping
from pathlib import Path

from vocseg.errors import UserError, shown
from vocseg.report.charts import COLOURS, charts_of
from vocseg.report.load_run import LoggedCurves, read_run
from vocseg.report.sections import render
from vocseg.utils.atomic_write import atomic_write


def curves(runs: list[str], output: Path = Path("curves.svg"), labels: list[str] | None = None) -> Path:
    """Draw loss and mean IoU of training and validation by epoch, for a thesis or a page.

    Several runs share the charts: validation is solid, training dashed, and each run has a colour. RUN is the
    folder of a run of `fit` or `finetune`, or of a run of `test`, which stands for the training of its
    weights.

    Args:
        runs: Folders of the runs; also as positional arguments before all flags.
        output: SVG file to write.
        labels: Name of each run in the legend; default: its path.

    Returns:
        The file.

    Raises:
        UserError: If a run has no curves, or the file cannot be written.
    """
    if not 1 <= len(runs) <= len(COLOURS):
        raise UserError(f"curves draws 1 to {len(COLOURS)} runs, got {len(runs)}. Pass their folders.")
    if output.suffix.lower() != ".svg":
        raise UserError(f"--output {output}: the file is an .svg. Use such a name.")
    names = [shown(name, 70) for name in labels or runs]
    if len(set(names)) != len(runs):
        raise UserError(f"--labels: {len(set(names))} names for {len(runs)} runs. Give each run its own.")
    found = {}
    for name, folder in zip(names, runs, strict=True):
        logged = read_run(Path(folder)).curves
        if logged is None:
            raise UserError(
                f"{folder}: its training has no metrics.csv with values beside a config.yaml. Pass the "
                "folder of a run of `fit` or `finetune`."
            )
        found[name if labels or len(runs) > 1 else ""] = logged
    atomic_write(output, curves_svg(found))
    print(f"wrote {output}")
    return output


def curves_svg(runs: Mapping[str, LoggedCurves]) -> str:
    """Charts of loss and mean IoU side by side, and a legend below them; a single run needs no name.

    Raises:
        UserError: If the runs logged neither.
    """
    charts = charts_of(runs)
    if not charts:
        folder = next(iter(runs.values())).folder
        raise UserError(f"{folder}: its metrics.csv has neither loss nor mean IoU. Pass another run.")
    legend = dict(zip(runs, COLOURS, strict=False))
    note = ["solid: val, dashed: train"]
    if "" in runs:
        legend, note = {"val": COLOURS[0], "train, dashed": COLOURS[1]}, []
    if len(runs) == 1 and (best := next(iter(runs.values())).best_epoch()):
        note.append(f"best mean IoU of val: epoch {best:g}")
    return render("curves.svg.j2", charts=charts, legend=legend, note="; ".join(note))
