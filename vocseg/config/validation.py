"""Validation of flags that only make sense together."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
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

_FIGURES = ("loss", "miou", "pixel_accuracy")
_INSTEAD = {  # of Lightning's callbacks that do not go with ours: what does the same
    BackboneFinetuning: "use --model.freeze_encoder_epochs EPOCHS",
    BatchSizeFinder: "run `python -m vocseg tune --target batch_size` first",
    LearningRateFinder: "run `python -m vocseg tune` first",
    StochasticWeightAveraging: "use --weight_averaging.kind swa",
    Timer: "use --trainer.max_time",
}
_SPAWNED = ("ddp_spawn", "ddp_fork", "ddp_notebook")  # processes begun in the midst of a command
_LIMITS = {"fit": "train", "finetune": "train", "validate": "val", "test": "test", "predict": "predict"}


def known_figures(classes: Iterable[str] = ()) -> list[str]:
    """Names of the figures that an epoch logs.

    Args:
        classes: Whose IoU is logged too.
    """
    names = [f"{name}/{stage}" for name in _FIGURES for stage in ("train", "val")]
    return names + [f"per_class_iou/{name}" for name in classes]


def check_flags(verb: str, config: Mapping[str, Any]) -> None:
    """Refuse what can be known from the flags alone.

    Args:
        verb: The command.
        config: What was typed, by its flags.

    Raises:
        UserError: For the first fault.
    """
    trainer, seed = config["trainer"], config["seed_everything"]
    if not isinstance(seed, bool) and not 0 <= int(seed or 0) < 1 << 32:
        raise UserError(f"--seed_everything {seed}: a seed is a whole number from 0 to 4,294,967,295")
    _check_root(Path(trainer["default_root_dir"] or "."))
    _check_device(trainer)
    _check_way(trainer)
    _check_counts(trainer)
    if not trainer["fast_dev_run"]:
        _check_length(verb, trainer)


def check_monitor(flag: str, figure: str, classes: Iterable[str]) -> None:
    """Whether a figure to judge by is one that is logged.

    Raises:
        UserError: If not.
    """
    known = known_figures(classes)
    if figure not in known:
        shown = [name for name in known if not name.startswith("per_class_iou")]
        raise UserError(
            f"{flag} {figure}: no such figure is logged; there are {', '.join(shown)} and per_class_iou/CLASS"
        )


def check_callbacks(callbacks: Iterable[Any], classes: Iterable[str]) -> None:
    """Whether a user's callbacks of Lightning's go with ours, and judge by a figure that is logged.

    Raises:
        UserError: If not.
    """
    callbacks, classes = list(callbacks), list(classes)
    # A callback that is not Lightning's may log figures of its own.
    strange = any(not type(each).__module__.startswith(("lightning.", "vocseg.")) for each in callbacks)
    for each in callbacks:
        for kind, instead in _INSTEAD.items():
            if isinstance(each, kind):
                raise UserError(f"trainer.callbacks: {type(each).__name__} does not work here: {instead}")
        if not isinstance(each, (EarlyStopping, ModelCheckpoint)) or each.monitor is None:
            continue
        name, figure = type(each).__name__, each.monitor
        if figure in known_figures(classes) or not strange:
            check_monitor(f"trainer.callbacks: {name} with monitor", figure, classes)
            if each.mode != best_mode(figure):
                size = "small" if best_mode(figure) == "min" else "large"
                raise UserError(
                    f"trainer.callbacks: {name} with monitor {figure} and mode {each.mode}: that figure is "
                    f"best when {size}; write `mode: {best_mode(figure)}`"
                )


def _check_root(root: Path) -> None:
    """Whether runs can be written there."""
    there = next(folder for folder in (root, *root.absolute().parents) if os.path.exists(folder))
    if not there.is_dir():
        raise UserError(f"--trainer.default_root_dir {root}: {there} is a file; name a folder for runs")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--trainer.default_root_dir {root}: {there} cannot be written; name another folder")


def _check_device(trainer: Mapping[str, Any]) -> None:
    """Whether there is the GPU that is asked for; with fp16 Lightning would quietly take bf16 on a CPU."""
    precision, accelerator = str(trainer["precision"]), str(trainer["accelerator"])
    device = torch.accelerator.is_available()
    if accelerator in ("gpu", "cuda") and not device:
        raise UserError(
            f"--trainer.accelerator {accelerator}: torch sees no GPU; leave it out to run on the CPU, or see "
            "whether `nvidia-smi` lists one and torch was built for it (`python -m torch.utils.collect_env`)"
        )
    if precision in ("16", "16-mixed", "16-true") and (accelerator == "cpu" or not device):
        raise UserError(
            f"--trainer.precision {precision} needs a GPU, and this run is on a CPU: use bf16-mixed, or "
            "leave it out"
        )


def _check_way(trainer: Mapping[str, Any]) -> None:
    """Ways of Lightning's to run that leave out what a run here is for."""
    if trainer["barebones"]:
        raise UserError(
            "--trainer.barebones true: the run would leave no scores, curves or weights; leave it out (bare "
            "steps are timed by scripts/bench train)"
        )
    strategy = str(trainer["strategy"])
    if strategy.startswith(_SPAWNED):
        raise UserError(
            f"--trainer.strategy {strategy}: use ddp, which starts each process by the same command"
        )


def _check_length(verb: str, trainer: Mapping[str, Any]) -> None:
    """Whether there is anything to do."""
    flags = [f"limit_{_LIMITS.get(verb, 'train')}_batches"]
    flags += ["max_epochs", "max_steps"] if _LIMITS.get(verb) == "train" else []
    for flag in flags:
        if trainer[flag] is not None and float(trainer[flag]) == 0:
            raise UserError(f"--trainer.{flag} {trainer[flag]}: there is nothing to do; leave it out")
        if trainer[flag] is not None and float(trainer[flag]) < -1:
            instead = "a share from 0 to 1, or a number of batches"
            instead = instead if flag.startswith("limit") else "a number above 0, or -1 for no end"
            raise UserError(f"--trainer.{flag} {trainer[flag]}: name {instead}")


def _check_counts(trainer: Mapping[str, Any]) -> None:
    """Whether what is done every so often has a number that one can count to."""
    for flag in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if trainer[flag] is not None and trainer[flag] < 1:
            raise UserError(f"--trainer.{flag} {trainer[flag]}: name a whole number from 1")
