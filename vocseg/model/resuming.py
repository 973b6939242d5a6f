"""Repairs of how Lightning 2.6 resumes in the middle of an epoch, through private parts of its loops."""

from typing import Any


def end_epoch_first(loops: dict[str, Any]) -> None:
    """Let a run that resumes from its epoch's last step validate and end that epoch first.

    `ModelCheckpoint(every_n_train_steps=...)` saves such a checkpoint between that step and the validation.
    Lightning would leave the validation out, and count the next epoch as one that has not begun.

    Args:
        loops: What a checkpoint holds of the loops; changed in place.
    """
    fit = loops["fit_loop"]
    batches, validation = fit["epoch_loop.batch_progress"], fit["epoch_loop.val_loop.batch_progress"]
    counts = batches["current"]
    if not batches["is_last_batch"] or counts["completed"] == counts["processed"]:
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
