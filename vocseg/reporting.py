"""What a verb that scores says and leaves at its end."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from vocseg.model import SegmentationModule
from vocseg.runs import FullSize, newest_score
from vocseg.scores import Score, score_intervals
from vocseg.views import interval_table, score_table, sizes_line
from vocseg.whole_files import write_whole


def say(trainer: Any, what: RenderableType) -> None:
    """Print, on the main process."""
    if trainer.is_global_zero:
        Console().print(what)


def report_scores(trainer: Any, verb: str, model: SegmentationModule) -> None:
    """Tables, `scores.json`, and if images were scored at their own size, their matrices.

    Args:
        trainer: Lightning's, on every process.
        verb: What was done.
        model: What was scored.
    """
    score = newest_score(trainer, model)
    if score is None:
        return
    callback = next((each for each in trainer.callbacks if isinstance(each, FullSize)), None)
    full = callback and callback.scores(trainer, model)
    if not full:
        say(trainer, score_table(score, verb))
        write_scores(trainer, **{verb: score})
        return
    say(trainer, interval_table(full.original, verb, score_intervals(full.original)))
    say(trainer, sizes_line(score, full.ceiling_score))
    write_scores(trainer, **{verb: score}, original=full.original_score, ceiling=full.ceiling_score)
    if folder := _kept(trainer):
        full.save(folder)


def write_scores(trainer: Any, **scores: Score) -> None:
    """Leave `scores.json`, with the matrices from which any score can be computed again."""
    if folder := _kept(trainer):
        plain = {name: score.as_dict() for name, score in scores.items()}
        write_whole(folder / "scores.json", json.dumps(plain, indent=1) + "\n")


def _kept(trainer: Any) -> Path | None:
    """The run's folder, on the process that writes, if the run keeps anything."""
    folder = trainer.log_dir  # on every process: it is broadcast
    return Path(folder) if folder and trainer.is_global_zero and not trainer.fast_dev_run else None
