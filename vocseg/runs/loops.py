"""What a checkpoint says of Lightning's loops, put so that Lightning goes on exactly where it was.

Lightning counts what is ready, started, processed and completed, and guesses from the four at which hook a
checkpoint was taken; for some hooks it guesses wrong, and leaves out a validation or trains a step twice. So
the counts are set to those of one of three places at which it guesses right.
"""

from typing import Any, Literal

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
