"""What a verb that scores says and leaves at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from vocseg.model import SegmentationModule
from vocseg.runs import FullSize, FullSizeScores, network_scores, newest_score, weights_origin
from vocseg.scores import Group, ImageScores, Score, compare_groups, score_figures, score_intervals
from vocseg.scores.plain import as_json
from vocseg.views import calibration_line, difference_tables, interval_table, score_table, sizes_line
from vocseg.whole_files import write_whole

Figures = dict[str, Any]
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
    score, kept = newest_score(trainer, model), network_scores(trainer)
    images = kept and kept.scores(trainer, model)
    if score is None or kept is None or not images:
        return
    callback = next((each for each in trainer.callbacks if isinstance(each, FullSize)), None)
    full = (callback and callback.scores(trainer, model)) or None
    calibration = (full and full.calibration) or kept.calibration(trainer, model)
    shown = full.original if full else images
    intervals = score_intervals(shown)
    say(trainer, interval_table(shown, verb, intervals))
    say(trainer, _network_line(score, full))
    if calibration:
        say(trainer, calibration_line(calibration))
    figures: Figures = {verb: score_figures(images, None if full else intervals, score.loss)}
    if full:
        figures["original"] = score_figures(full.original, intervals)
        figures["ceiling"] = full.ceiling and Score.of(full.ceiling).as_dict()
    keep(trainer, figures | {"calibration": calibration and calibration.as_dict()})
    _save(trainer, {NETWORK: images} | ({ORIGINAL: full.original} if full else {}))


def report_finetuning(
    trainer: Any, before: tuple[Score, ImageScores], after: tuple[Score, ImageScores]
) -> None:
    """Whether and where fine-tuning helped, on the same images.

    The run's folder gets the matrices of every image before and after, and so `compare` knows both.

    Args:
        trainer: Lightning's, on every process.
        before: Of the weights it began with.
        after: Of the best epoch.
    """
    found = compare_groups(Group("before", (before[1],)), Group("after", (after[1],)))
    say(trainer, difference_tables(found, "after", first="before", title="fine-tuning: "))
    figures = {"before": score_figures(before[1], None, before[0].loss)}
    figures |= {"after": score_figures(after[1], None, after[0].loss), "comparison": found.as_dict()}
    keep(trainer, figures)
    _save(trainer, {BEFORE: before[1], NETWORK: after[1]})


def report_training(trainer: Any, best: Score) -> None:
    """The score of the best epoch."""
    say(trainer, score_table(best, "best epoch"))
    trainer.figures = {"best": best.as_dict()}


def _network_line(score: Score, full: FullSizeScores | None) -> RenderableType:
    ceiling = Score.of(full.ceiling) if full and full.ceiling else None
    windows = bool(full and full.original.protocol.windows)
    return sizes_line(score, ceiling, windows, alone=full is None)


def keep(trainer: Any, figures: Figures) -> None:
    """Leave `scores.json`, with the matrices from which any score can be computed again, and for --json."""
    trainer.figures = figures
    if folder := _kept(trainer):
        module = trainer.lightning_module
        trainer.figures = figures | {"weights": weights_origin(module.loaded_from, folder, module)}
        write_whole(folder / "scores.json", as_json(trainer.figures) + "\n")


def _save(trainer: Any, files: dict[str, ImageScores]) -> None:
    if folder := _kept(trainer):
        for name, scores in files.items():
            scores.save(folder / name)


def _kept(trainer: Any) -> Path | None:
    """The run's folder, on the process that writes, if the run keeps anything."""
    folder = trainer.log_dir  # on every process: it is broadcast
    return Path(folder) if folder and trainer.is_global_zero and not trainer.fast_dev_run else None
