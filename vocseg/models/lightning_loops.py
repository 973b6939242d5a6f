"""Repairs of the loop states that Lightning 2.6 saves and restores.

Lightning counts what is ready, started, processed and completed, and guesses from the four at which hook a
checkpoint was taken; for some hooks it guesses wrong, and leaves out a validation or trains a step twice. So
the counts are set to those of one of three places at which it guesses right.
"""

from typing import Any, Literal


def keep_validation(trainer: Any, loops: dict[str, Any]) -> None:
    """Let a run that resumes from a step validate first, or end the epoch, where that comes next.

    `ModelCheckpoint(every_n_train_steps=...)` saves between a step and the validation that follows it.
    Lightning would leave that validation out, and count the next epoch as one that has not begun.

    Args:
        trainer: Lightning's, while it saves.
        loops: What the checkpoint holds of the loops; changed in place.
    """
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    fit = loops["fit_loop"]
    batches, validation = fit["epoch_loop.batch_progress"], fit["epoch_loop.val_loop.batch_progress"]
    counts = batches["current"]
    if fetcher is None or counts["completed"] == counts["processed"]:  # not at the end of a step
        return
    if not batches["is_last_batch"] and not loop._should_check_val_fx(fetcher):
        return
    for counts in (batches["total"], batches["current"]):
        counts["completed"] = counts["processed"]
    validation["current"] |= dict.fromkeys(("ready", "started", "processed", "completed"), 0)
    for counts in (
        validation["total"],
        validation["current"],
    ):
        done = counts["completed"]  # one batch is begun: Lightning repeats the whole
        counts |= {"ready": done + 1, "started": done + 1, "processed": done}


def load_loader_states(trainer: Any) -> None:
    """Give loaders that were handed to `Trainer.fit` their place in the epoch.

    Lightning does so when it sets them up, before it has read the checkpoint if a schedule needs the number
    of all steps (`estimated_stepping_batches`).
    """
    trainer.fit_loop._load_combined_loader_states()


Place = Literal["epoch", "batch", "validation"]

_COUNTS = ("ready", "started", "processed", "completed")


def settle(loops: dict[str, Any], place: Place, validated: bool = False) -> None:
    """Set the counts of a checkpoint.

    Args:
        loops: State of the loops in a checkpoint; changed in place.
        place: `epoch`: between two epochs; `batch`: between two batches; `validation`: in a validation, which
            starts anew on resume.
        validated: Whether a validation ended just before, for `batch`.
    """
    for name in ("validate_loop", "test_loop", "predict_loop"):
        # Left from a verb that ran before in this process, as `finetune` scores before it trains. Resuming
        # reads none of them; an interrupted run and an uninterrupted one have the same checkpoints this way.
        if progress := loops.get(name, {}).get("batch_progress"):
            _level(progress, None)
            if "is_last_batch" in progress:
                progress["is_last_batch"] = False
    fit = loops["fit_loop"]
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    validation = fit["epoch_loop.val_loop.batch_progress"]
    if place != "validation":  # that of the newest validation, if this process had one; the next starts at 0
        validation["current"] |= dict.fromkeys(_COUNTS, 0)
        validation["is_last_batch"] = False
    if place == "epoch":
        _level(epochs, "processed")
        return
    _level(batches, "processed")
    if place == "batch":
        batches["is_last_batch"] = False
        if validated:  # Lightning skips that validation on resume, but counts its step once more
            fit["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
        return
    total, current = validation["total"], validation["current"]
    before = total["completed"] - current["completed"]
    for counts, done in ((total, before), (current, 0)):  # the pattern of an interrupted validation
        counts |= {"ready": done + 1, "started": done + 1, "processed": done, "completed": done}


def _level(progress: dict[str, Any], name: str | None) -> None:
    """All four counts are what one of them is; None: 0."""
    for counts in (progress["total"], progress["current"]):
        counts |= dict.fromkeys(_COUNTS, counts[name] if name else 0)
