"""What a verb that scores says and leaves at its end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from vocseg.deploy.masks import RESULTS, MaskWriter, Predicted
from vocseg.errors import printable
from vocseg.model import SegmentationModule
from vocseg.runs import FullSize, FullSizeScores, network_scores, newest_score, weights_origin
from vocseg.scores import Group, ImageScores, Score, compare_groups, score_figures, score_intervals
from vocseg.scores.plain import INPUT_RESOLUTION, ORIGINAL_RESOLUTION, as_json
from vocseg.views import calibration_line, difference_tables, interval_table, score_table, sizes_line
from vocseg.whole_files import write_whole

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
    figures: Figures = {ORIGINAL_RESOLUTION: score_figures(full.original, intervals)} if full else {}
    figures[INPUT_RESOLUTION] = score_figures(images, None if full else intervals, score.loss)
    if full:
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


def report_predictions(trainer: Any, model: SegmentationModule) -> int:
    """What was predicted and what was left out, on the terminal and as `predictions.json`.

    Args:
        trainer: Lightning's, on every process.
        model: What predicted.

    Returns:
        Exit code: 1 if an image cannot be read.
    """
    writer = next((each for each in trainer.callbacks if isinstance(each, MaskWriter)), None)
    if writer is None or (done := writer.predicted) is None:
        return 0
    kept = not trainer.fast_dev_run
    if trainer.is_global_zero:
        origin = weights_origin(model.loaded_from, done.folder, model)
        ways = {"size": trainer.datamodule.size, "tta": model.variants.label, "windows": writer.windows}
        trainer.figures = {**done.as_dict(), **ways, "weights": origin}
        if kept:
            write_whole(done.folder / RESULTS, as_json(trainer.figures) + "\n")
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
