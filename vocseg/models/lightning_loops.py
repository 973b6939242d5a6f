"""Repairs of the loop states that Lightning 2.6 saves and restores.

Lightning counts batches that are ready, started, processed and completed. From these counts it infers at
which hook a checkpoint was saved. For some hooks the result is wrong: a validation is left out, or a step is
trained twice. The functions set the counts to those of one of three places that Lightning infers correctly.
"""

from typing import Any, Literal

Place = Literal["epoch", "batch", "validation"]
_COUNTS = ("ready", "started", "processed", "completed")


def keep_validation(trainer: Any, loops: dict[str, Any]) -> None:
    """Keep the validation, or the end of the epoch, that follows the step of a checkpoint.

    `ModelCheckpoint(every_n_train_steps=...)` saves between a step and the validation after it, which
    Lightning would leave out on resume.

    Args:
        trainer: Trainer that saves the checkpoint.
        loops: Loop states of the checkpoint, changed in place.
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
    validation["current"] |= dict.fromkeys(_COUNTS, 0)
    for counts in (validation["total"], validation["current"]):
        done = counts["completed"]  # one batch has started: Lightning repeats the validation
        counts |= {"ready": done + 1, "started": done + 1, "processed": done}


def load_loader_states(trainer: Any) -> None:
    """Restore the position of the training DataLoaders in the epoch.

    Lightning does so before it has read the checkpoint if a schedule needs `estimated_stepping_batches`.
    """
    trainer.fit_loop._load_combined_loader_states()


def settle(loops: dict[str, Any], place: Place, validated: bool = False) -> None:
    """Set the counts of a checkpoint.

    Args:
        loops: Loop states of the checkpoint, changed in place.
        place: epoch: between two epochs; batch: between two batches; validation: within a validation, which
            resume repeats.
        validated: Whether a validation has just ended. For `batch`.
    """
    for name in ("validate_loop", "test_loop", "predict_loop"):
        # Left from an earlier verb of the process, as `finetune` validates before it trains. Resume reads
        # none of them. Set to 0, they are equal in interrupted and uninterrupted runs.
        if progress := loops.get(name, {}).get("batch_progress"):
            _level(progress, None)
            if "is_last_batch" in progress:
                progress["is_last_batch"] = False
    fit = loops["fit_loop"]
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    validation = fit["epoch_loop.val_loop.batch_progress"]
    if place != "validation":  # of the latest validation of this process; the next starts at 0
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
    """Set all four counts to one of them, or to 0."""
    for counts in (progress["total"], progress["current"]):
        counts |= dict.fromkeys(_COUNTS, counts[name] if name else 0)
