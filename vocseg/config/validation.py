"""Validation of flags and callbacks before anything is built."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
)

from vocseg.callbacks.best_weights import best_mode
from vocseg.errors import UserError

_METRICS = [f"{name}/{stage}" for name in ("loss", "miou", "pixel_accuracy") for stage in ("train", "val")]
_REPLACEMENTS = {  # of Lightning's callbacks that conflict with ours
    BackboneFinetuning: "use --model.freeze_encoder_epochs EPOCHS",
    BatchSizeFinder: "use Lightning's Tuner from Python",
    LearningRateFinder: "use Lightning's Tuner from Python",
    StochasticWeightAveraging: "use --weight_averaging.kind swa",
    Timer: "use --trainer.max_time",
}
_LIMITS = {"fit": "train", "finetune": "train", "validate": "val", "test": "test", "predict": "predict"}


def check_flags(verb: str, config: Mapping[str, Any], classes: Iterable[str]) -> None:
    """Raise a `UserError` for a flag that is invalid whatever the data and weights are."""
    trainer, seed = config["trainer"], config["seed_everything"]
    if not isinstance(seed, bool) and not 0 <= int(seed or 0) < 1 << 32:
        raise UserError(f"--seed_everything {seed}: a seed is a whole number from 0 to 4,294,967,295")
    # Lightning would silently use bf16 on a CPU.
    on_cpu = str(trainer["accelerator"]) == "cpu" or not torch.accelerator.is_available()
    if on_cpu and str(trainer["precision"]) in ("16", "16-mixed", "16-true"):
        raise UserError(
            f"--trainer.precision {trainer['precision']} needs a GPU, and this run is on a CPU. Use "
            "bf16-mixed, or leave it out."
        )
    if str(trainer["strategy"]).startswith(("ddp_spawn", "ddp_fork", "ddp_notebook")):
        raise UserError(
            f"--trainer.strategy {trainer['strategy']}: only processes started by the same command are "
            "supported. Use ddp."
        )
    for flag in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if trainer[flag] is not None and trainer[flag] < 1:
            raise UserError(f"--trainer.{flag} {trainer[flag]}: give a whole number from 1")
    lengths = [f"limit_{_LIMITS.get(verb, 'train')}_batches", "max_epochs", "max_steps"]
    for flag in lengths if not trainer["fast_dev_run"] else ():
        if trainer[flag] is not None and not (trainer[flag] > 0 or trainer[flag] == -1):
            raise UserError(f"--trainer.{flag} {trainer[flag]}: there is nothing to do. Leave it out.")
    _check_scoring(verb, config)
    if "best_weights" in config:
        check_monitor("--best_weights.monitor", config["best_weights"]["monitor"], classes)


def check_monitor(flag: str, metric: str, classes: Iterable[str]) -> None:
    """Raise a `UserError` unless a monitored metric is logged."""
    if metric not in _METRICS and metric not in {f"per_class_iou/{name}" for name in classes}:
        raise UserError(
            f"{flag} {metric}: no such metric is logged. Use {', '.join(_METRICS)} or per_class_iou/CLASS."
        )


def check_callbacks(callbacks: Iterable[Any], classes: Iterable[str]) -> None:
    """Raise a `UserError` unless a user's callbacks work with ours and monitor a logged metric."""
    callbacks, classes = list(callbacks), list(classes)
    # A callback from another package may log metrics of its own.
    foreign = any(not type(each).__module__.startswith(("lightning.", "vocseg.")) for each in callbacks)
    for each in callbacks:
        name = type(each).__name__
        for kind, remedy in _REPLACEMENTS.items():
            if isinstance(each, kind):
                raise UserError(f"trainer.callbacks: {name} does not work here: {remedy}")
        if not isinstance(each, (EarlyStopping, ModelCheckpoint)) or each.monitor is None:
            continue
        metric = each.monitor
        try:
            check_monitor(f"trainer.callbacks: {name} with monitor", metric, classes)
        except UserError:
            if foreign:
                continue
            raise
        if each.mode != best_mode(metric):
            size = "small" if best_mode(metric) == "min" else "large"
            raise UserError(
                f"trainer.callbacks: {name} with monitor {metric} and mode {each.mode}: that metric is "
                f"best when {size}. Use `mode: {best_mode(metric)}`."
            )


def _check_scoring(verb: str, config: Mapping[str, Any]) -> None:
    # Training always validates on single, unscaled images, so that `finetune` compares like with like.
    given = {
        "--tta.flip": bool(config["tta"]["flip"]),
        "--tta.scales": tuple(config["tta"]["scales"]) != (1.0,),
        "--original_resolution.sliding_window": bool(config["original_resolution"]["sliding_window"]),
    }
    flag = next((name for name, value in given.items() if value), None)
    if verb not in ("validate", "test", "predict") and flag is not None:
        raise UserError(
            f"{flag} is for validate, test and predict. Leave it out of {verb}, and score with test."
        )
