"""Printed results of a command, `--json` output and the commands to run next."""

import inspect
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console, RenderableType

from vocseg.callbacks import find_callback
from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.callbacks.per_image_metrics import PerImageMetrics
from vocseg.callbacks.prediction_writer import RESULTS, PredictionWriter
from vocseg.checkpoints.weights import WEIGHTS_NAME, weights_origin
from vocseg.constants import INPUT_RESOLUTION, ORIGINAL_RESOLUTION, STDOUT
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError, printable
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.paired_test import compare_groups
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.run_groups import RunGroup
from vocseg.metrics.score import Score, scores_dict
from vocseg.models.metadata import newest_score
from vocseg.models.module import SegmentationModule
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.regular_file import as_json
from vocseg.visualization.tables import (
    calibration_line,
    difference_tables,
    interval_table,
    resolution_lines,
    score_table,
)

Figures = dict[str, Any]
ORIGINAL, NETWORK, BEFORE = (f"per_image_confusion_{name}.npz" for name in ("original", "network", "before"))
_LISTED = 10  # printed files of a kind; `predictions.json` has all
_DATA = (  # flags of the data and of the scored split
    *("root", "classes", "image_folder", "image_suffix", "mask_folder", "mask_suffix", "mask_values"),
    *("val_split", "val_fraction", "subset_seed"),
)
_HOLDS = {
    "fit": "panels.png, metrics.csv, config.yaml, checkpoints",
    "finetune": "scores.json, panels.png, metrics.csv, config.yaml, checkpoints",
    "validate": "scores.json, per-image scores",
    "test": "scores.json, per-image scores, predicted masks",
}


class JsonOutput(ExitStack):
    """JSON file of a command's results; while open, `-` diverts other output to standard error."""

    _path: Path | None = None

    def open(self, path: Path | None) -> None:
        """Set the JSON file: a path, `-`, or None for no output.

        Raises:
            UserError: If the file cannot be created.
        """
        self._path = path
        if path == STDOUT:
            self.enter_context(redirect_stdout(sys.stderr))
        elif path is not None and (path.is_dir() or any(each.is_file() for each in path.parents)):
            raise UserError(
                f"--json {path} cannot be written: a folder or a file is in its place. Pass another."
            )

    def write(self, trainer: Any) -> None:
        """Write the results, on the main process."""
        if self._path is None or not trainer.is_global_zero:
            return
        self.close()  # `-` is standard output again
        text = as_json(trainer.figures)
        if self._path == STDOUT:
            print(text)
            return
        atomic_write(self._path, text + "\n")


def closing_lines(verb: str, folder: Path, config: Namespace) -> list[str]:
    """Locations of the results of a run, and the commands to run next."""
    weights = folder / WEIGHTS_NAME if verb in ("fit", "finetune") else None
    weights = weights if weights is not None and weights.is_file() else None
    lines = [f"weights  {weights}"] if weights is not None else []
    lines.append(f"results  {folder}  ({_HOLDS[verb]})")
    for k, command in enumerate(_commands(verb, folder, weights, config)):
        lines.append(f"{'next' if k == 0 else '':<9}python -m vocseg {command}")
    return lines


def _commands(verb: str, folder: Path, weights: Path | None, config: Namespace) -> Iterator[str]:
    run = shlex.quote(str(folder))
    if weights is not None:
        file = shlex.quote(str(weights))
        yield f"test --ckpt_path {file}{_data_flags(config['data'])}"
        yield f"predict --ckpt_path {file} --data.predict_dir FOLDER"
    number = folder.name.removeprefix("version_")
    if verb in ("validate", "test") and number.isdigit():
        before = folder.with_name(f"version_{int(number) - 1}")
        if (before / "scores.json").is_file():
            yield f"compare {shlex.quote(str(before))} {run}"
    yield f"report {run}"


def _data_flags(data: Any) -> str:
    """Data flags that differ from the defaults."""
    defaults = inspect.signature(VOCDataModule).parameters
    names = (*_DATA, "train_split") if data.get("val_fraction") else _DATA  # the split that is divided
    given = {
        name: data[name] for name in names if data.get(name, defaults[name].default) != defaults[name].default
    }
    return "".join(f" --data.{name} {shlex.quote(str(value))}" for name, value in given.items())


def say(trainer: Any, what: RenderableType) -> None:
    """Print on the main process."""
    if trainer.is_global_zero:
        Console().print(what)


def report_scores(trainer: Any, verb: str, model: SegmentationModule) -> None:
    """Print tables, write `scores.json` and the per-image scores; to be called on all processes."""
    score, metrics = newest_score(trainer, model), find_callback(trainer, PerImageMetrics)
    images = metrics and metrics.scores(trainer, model)
    if score is None or metrics is None or not images:
        return
    callback = find_callback(trainer, OriginalResolutionEval)
    full = (callback and callback.scores(trainer, model)) or None
    calibration = (full and full.calibration) or metrics.calibration(trainer, model)
    upper_bound = Score.of(full.ceiling) if full and full.ceiling else None
    shown = full.original if full else images
    intervals = score_intervals(shown)
    say(trainer, interval_table(shown, verb, intervals))
    say(trainer, resolution_lines(score, upper_bound))
    if calibration:
        say(trainer, calibration_line(calibration))
    figures: Figures = {ORIGINAL_RESOLUTION: scores_dict(full.original, intervals)} if full else {}
    figures[INPUT_RESOLUTION] = scores_dict(images, None if full else intervals, score.loss)
    if full:
        figures["ceiling"] = upper_bound and upper_bound.as_dict()
    keep(trainer, figures | {"calibration": calibration and calibration.as_dict()})
    _save(trainer, {NETWORK: images} | ({ORIGINAL: full.original} if full else {}))


def report_finetuning(
    trainer: Any, before: tuple[Score, PerImageConfusion], after: tuple[Score, PerImageConfusion]
) -> None:
    """Print and write the comparison before and after fine-tuning; to be called on all processes."""
    found = compare_groups(RunGroup("before", (before[1],)), RunGroup("after", (after[1],)))
    say(trainer, difference_tables(found, "after", first="before", title="fine-tuning: "))
    figures = {"before": scores_dict(before[1], None, before[0].loss)}
    figures |= {"after": scores_dict(after[1], None, after[0].loss), "comparison": found.as_dict()}
    keep(trainer, figures)
    _save(trainer, {BEFORE: before[1], NETWORK: after[1]})


def report_training(trainer: Any, best: Score) -> None:
    """Print the score of the best epoch."""
    say(trainer, score_table(best, "best epoch"))
    trainer.figures = {"best": best.as_dict()}


def report_predictions(trainer: Any, model: SegmentationModule) -> int:
    """Print results and write `predictions.json`, on all processes; return 1 if an image is unreadable."""
    writer = find_callback(trainer, PredictionWriter)
    if writer is None or writer.seconds is None or writer.folder is None:
        return 0
    saved = not trainer.fast_dev_run
    if trainer.is_global_zero:
        dataset = trainer.datamodule.predict_dataset
        trainer.figures = {
            "source": str(dataset.source),
            "folder": str(writer.folder),
            "images": writer.images,
            "left_out": writer.unreadable | dataset.other_files,
            "size": trainer.datamodule.image_size,
            "tta": model.tta.label,
            "windows": writer.windows,
            "weights": weights_origin(model.loaded_from, writer.folder, model),
        }
        if saved:
            atomic_write(writer.folder / RESULTS, as_json(trainer.figures) + "\n")
        print("\n".join(_predicted_lines(writer, writer.folder, dataset.other_files, saved)), flush=True)
    return 1 if writer.unreadable else 0


def _predicted_lines(
    writer: PredictionWriter, folder: Path, others: dict[str, str], saved: bool
) -> Iterator[str]:
    count, seconds = len(writer.images), writer.seconds or 0
    read = count + len(writer.unreadable)
    rate = f" ({count / seconds:.1f} images/s)" if count else ""
    yield f"\n{count:,} of {read:,} image{'s' * (read != 1)} predicted in {seconds:.1f} s{rate}"
    yield from _file_lines("cannot be read", list(writer.unreadable.values()))
    yield from _file_lines("left out", [f"{name}: {why}" for name, why in others.items()])
    for name in ("masks", "overlays", *(["confidence"] if writer.confidence else [])):
        yield f"{name:<12}{folder / name}"
    if saved:
        yield f"areas       {folder / RESULTS}  (classes of every image, files left out)"


def _file_lines(what: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{len(lines):,} {what}:"
        yield from (f"  {printable(line)}" for line in lines[:_LISTED])
        if len(lines) > _LISTED:
            yield f"  and {len(lines) - _LISTED:,} more"


def keep(trainer: Any, figures: Figures) -> None:
    """Set the results for --json and write `scores.json`."""
    trainer.figures = figures
    if folder := _output_folder(trainer):
        module = trainer.lightning_module
        origin = weights_origin(module.loaded_from, folder, module)
        if trainer.verb == "finetune":  # whose scores are of two weights, neither of them in memory
            origin["parameters"] = None
        trainer.figures = figures | {"weights": origin}
        atomic_write(folder / "scores.json", as_json(trainer.figures) + "\n")


def _save(trainer: Any, files: dict[str, PerImageConfusion]) -> None:
    if folder := _output_folder(trainer):
        for name, scores in files.items():
            scores.save(folder / name)


def _output_folder(trainer: Any) -> Path | None:
    """The run's folder on the main process, unless nothing is saved."""
    folder = trainer.log_dir  # on every process: it is broadcast
    return Path(folder) if folder and trainer.is_global_zero and not trainer.fast_dev_run else None
