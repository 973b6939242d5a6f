"""Repairs of how Lightning 2.6 resumes in the middle of an epoch, through private parts of its loops."""

from typing import Any


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
