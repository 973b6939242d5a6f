"""Printed results of a verb, `--json` output and the commands to type next."""

import inspect
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console, RenderableType

from vocseg.callbacks.original_resolution import OriginalResolutionEval, OriginalResolutionResult
from vocseg.callbacks.per_image_metrics import per_image_metrics
from vocseg.callbacks.prediction_writer import RESULTS, Predicted, PredictionWriter
from vocseg.checkpoints.weights import weights_origin
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError, printable
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.paired_test import compare_groups
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.run_groups import RunGroup
from vocseg.metrics.score import Score
from vocseg.metrics.scores_json import scores_dict
from vocseg.models.metadata import newest_score
from vocseg.models.module import SegmentationModule
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.json_values import INPUT_RESOLUTION, ORIGINAL_RESOLUTION, STDOUT, as_json
from vocseg.visualization.difference_tables import difference_tables
from vocseg.visualization.tables import calibration_line, interval_table, score_table, sizes_line


def add_json_flag(parser: Any) -> None:
    """Add `--json` to a parser."""
    parser.add_argument(
        "--json",
        type=Path | None,
        default=None,
        help="File to write all scores to that are shown, with intervals and protocol (predict: the area "
        "of each class in each image); "
        "`-`: standard output, and all else goes to standard error.",
    )


class JsonOutput(ExitStack):
    """Keeps standard output free for JSON while it is open, if that is where JSON goes."""

    def __init__(self) -> None:
        """Nothing is diverted yet."""
        super().__init__()
        self._path: Path | None = None

    def open(self, path: Path | None) -> None:
        """Say where JSON goes; tables, bars and notices move out of its way.

        Args:
            path: A file, or `-`; None: there is none.

        Raises:
            UserError: If the file cannot be there.
        """
        self._path = path
        if path is None:
            return
        if path == STDOUT:
            self.enter_context(redirect_stdout(sys.stderr))
        elif path.is_dir() or not next(k for k in path.absolute().parents if k.exists()).is_dir():
            raise UserError(
                f"--json {path} cannot be written, as there is something in its way: name another"
            )

    def write(self, trainer: Any) -> None:
        """Write what was scored, on the main process.

        Raises:
            UserError: If the file cannot be written.
        """
        if self._path is None or not trainer.is_global_zero:
            return
        text = as_json(trainer.figures)
        if self._path == STDOUT:
            print(text)
            return
        try:
            atomic_write(self._path, text + "\n")
        except OSError as fault:
            raise UserError(
                f"--json {self._path} cannot be written ({fault.strerror}): name another file"
            ) from fault


_DATA = (  # say which data, and which of them are scored
    *("root", "classes", "image_folder", "image_suffix", "mask_folder", "mask_suffix", "mask_values"),
    *("val_split", "val_fraction", "subset_seed"),
)
_HOLDS = {
    "fit": "panels.png, metrics.csv, config.yaml, checkpoints",
    "finetune": "scores.json, panels.png, metrics.csv, config.yaml, checkpoints",
    "validate": "scores.json, scores of every image",
    "test": "scores.json, scores of every image, predicted masks",
}


def closing_lines(verb: str, folder: Path, weights: Path | None, config: Namespace) -> list[str]:
    """Where results are and what to type next.

    Args:
        verb: fit, finetune, validate or test.
        folder: Of the run.
        weights: What it trained; None: nothing.
        config: Its flags.
    """
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
    before = _run_before(folder)
    if verb in ("validate", "test") and before is not None:
        yield f"compare {shlex.quote(str(before))} {run}"
    yield f"report {run}"


def _data_flags(data: Any) -> str:
    """The flags that name the data, where they are not the defaults."""
    defaults = inspect.signature(VOCDataModule).parameters
    names = (*_DATA, "train_split") if data.get("val_fraction") else _DATA  # the list that is divided
    given = {
        name: data[name] for name in names if data.get(name, defaults[name].default) != defaults[name].default
    }
    return "".join(f" --data.{name} {shlex.quote(str(value))}" for name, value in given.items())


def _run_before(folder: Path) -> Path | None:
    """The run of the same verb before this one, if images were scored in it."""
    number = folder.name.removeprefix("version_")
    before = folder.with_name(f"version_{int(number) - 1}") if number.isdigit() else folder
    return before if before != folder and (before / "scores.json").is_file() else None


Figures = dict[str, Any]
_LISTED = 10  # files of a kind that are named on the terminal; `predictions.json` has all
ORIGINAL, NETWORK, BEFORE = (f"image_scores_{name}.npz" for name in ("original", "network", "before"))


def say(trainer: Any, what: RenderableType) -> None:
    """Print, on the main process."""
    if trainer.is_global_zero:
        Console().print(what)


def report_scores(trainer: Any, verb: str, model: SegmentationModule) -> None:
    """Tables, `scores.json`, and the matrices of every image.

    Args:
        trainer: Lightning's, on every process.
        verb: What was done.
        model: What was scored.
    """
    score, kept = newest_score(trainer, model), per_image_metrics(trainer)
    images = kept and kept.scores(trainer, model)
    if score is None or kept is None or not images:
        return
    callback = next((each for each in trainer.callbacks if isinstance(each, OriginalResolutionEval)), None)
    full = (callback and callback.scores(trainer, model)) or None
    calibration = (full and full.calibration) or kept.calibration(trainer, model)
    shown = full.original if full else images
    intervals = score_intervals(shown)
    say(trainer, interval_table(shown, verb, intervals))
    say(trainer, _network_line(score, full))
    if calibration:
        say(trainer, calibration_line(calibration))
    figures: Figures = {ORIGINAL_RESOLUTION: scores_dict(full.original, intervals)} if full else {}
    figures[INPUT_RESOLUTION] = scores_dict(images, None if full else intervals, score.loss)
    if full:
        figures["ceiling"] = full.ceiling and Score.of(full.ceiling).as_dict()
    keep(trainer, figures | {"calibration": calibration and calibration.as_dict()})
    _save(trainer, {NETWORK: images} | ({ORIGINAL: full.original} if full else {}))


def report_finetuning(
    trainer: Any, before: tuple[Score, PerImageConfusion], after: tuple[Score, PerImageConfusion]
) -> None:
    """Whether and where fine-tuning helped, on the same images.

    The run's folder gets the matrices of every image before and after, and so `compare` knows both.

    Args:
        trainer: Lightning's, on every process.
        before: Of the weights it began with.
        after: Of the best epoch.
    """
    found = compare_groups(RunGroup("before", (before[1],)), RunGroup("after", (after[1],)))
    say(trainer, difference_tables(found, "after", first="before", title="fine-tuning: "))
    figures = {"before": scores_dict(before[1], None, before[0].loss)}
    figures |= {"after": scores_dict(after[1], None, after[0].loss), "comparison": found.as_dict()}
    keep(trainer, figures)
    _save(trainer, {BEFORE: before[1], NETWORK: after[1]})


def report_training(trainer: Any, best: Score) -> None:
    """The score of the best epoch."""
    say(trainer, score_table(best, "best epoch"))
    trainer.figures = {"best": best.as_dict()}


def report_predictions(trainer: Any, model: SegmentationModule) -> int:
    """What was predicted and what was left out, on the terminal and as `predictions.json`.

    Args:
        trainer: Lightning's, on every process.
        model: What predicted.

    Returns:
        Exit code: 1 if an image cannot be read.
    """
    writer = next((each for each in trainer.callbacks if isinstance(each, PredictionWriter)), None)
    if writer is None or (done := writer.predicted) is None:
        return 0
    kept = not trainer.fast_dev_run
    if trainer.is_global_zero:
        origin = weights_origin(model.loaded_from, done.folder, model)
        ways = {"size": trainer.datamodule.image_size, "tta": model.variants.label, "windows": writer.windows}
        trainer.figures = {**done.as_dict(), **ways, "weights": origin}
        if kept:
            atomic_write(done.folder / RESULTS, as_json(trainer.figures) + "\n")
        print("\n".join(_predicted_lines(done, kept)), flush=True)
    return 1 if done.unreadable else 0


def _predicted_lines(done: Predicted, kept: bool) -> Iterator[str]:
    count, read = len(done.images), len(done.images) + len(done.unreadable)
    rate = f" ({count / done.seconds:.1f} images/s)" if count else ""
    yield f"\n{count:,} of {read:,} image{'s' * (read != 1)} predicted in {done.seconds:.1f} s{rate}"
    yield from _named("cannot be read", "image", [printable(each) for each in done.unreadable.values()])
    others = [printable(f"{name}: {why}") for name, why in done.other_files.items()]
    yield from _named("left out", "entry", others, "entries")
    yield f"masks       {done.folder / 'masks'}"
    yield f"overlays    {done.folder / 'overlays'}"
    if done.confidence:
        yield f"confidence  {done.folder / 'confidence'}"
    if kept:
        yield f"areas       {done.folder / RESULTS}  (every image's classes, and what was left out)"


def _named(what: str, one: str, lines: list[str], several: str = "") -> Iterator[str]:
    if lines:
        yield f"{len(lines):,} {one if len(lines) == 1 else several or one + 's'} {what}:"
        yield from (f"  {line}" for line in lines[:_LISTED])
        if len(lines) > _LISTED:
            yield f"  and {len(lines) - _LISTED:,} more"


def _network_line(score: Score, full: OriginalResolutionResult | None) -> RenderableType:
    ceiling = Score.of(full.ceiling) if full and full.ceiling else None
    windows = bool(full and full.original.protocol.windows)
    return sizes_line(score, ceiling, windows, alone=full is None)


def keep(trainer: Any, figures: Figures) -> None:
    """Leave `scores.json`, with the matrices from which any score can be computed again, and for --json."""
    trainer.figures = figures
    if folder := _kept(trainer):
        module = trainer.lightning_module
        trainer.figures = figures | {"weights": weights_origin(module.loaded_from, folder, module)}
        atomic_write(folder / "scores.json", as_json(trainer.figures) + "\n")


def _save(trainer: Any, files: dict[str, PerImageConfusion]) -> None:
    if folder := _kept(trainer):
        for name, scores in files.items():
            scores.save(folder / name)


def _kept(trainer: Any) -> Path | None:
    """The run's folder, on the process that writes, if the run keeps anything."""
    folder = trainer.log_dir  # on every process: it is broadcast
    return Path(folder) if folder and trainer.is_global_zero and not trainer.fast_dev_run else None
