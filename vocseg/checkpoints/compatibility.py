"""Compatibility of weights with flags, and of a run with its resumption."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from vocseg import __version__
from vocseg.callbacks.weight_averaging import WeightAverager
from vocseg.data.classes import ClassList, named_classes
from vocseg.errors import UserError

Description = dict[str, Any]


def network_shape(description: Description) -> dict[str, str | int]:
    """What rebuilds the network, under the names of `SegmentationModule`'s arguments."""
    return {
        "arch": description["arch"],
        "encoder": description["encoder"],
        "num_classes": len(description["classes"]),
    }


def check_shape(path: Path, holds: dict[str, str | int], wanted: Mapping[str, str | int]) -> None:
    """Whether a file holds the network that is wanted.

    Raises:
        UserError: If not.
    """
    for name, value in holds.items():
        if value != wanted[name]:
            raise UserError(
                f"--ckpt_path {path}: holds a network with {name} {value}, but --model.{name} is "
                f"{wanted[name]}: leave that flag out, or name other weights"
            )


def described_classes(description: Description) -> ClassList:
    """The classes that a file's network tells apart."""
    return named_classes(description["classes"], description.get("colours"))


def check_classes(path: Path, description: Description, classes: ClassList) -> None:
    """Whether a file's network tells the classes apart that the masks hold, in the same order.

    Raises:
        UserError: If not.
    """
    names = tuple(description["classes"])
    if names == classes.names:
        return
    if len(names) != len(classes):
        theirs, ours = _some(names), _some(classes.names)
        differ = f"{len(names)} classes ({theirs}), but the masks have {len(classes)} ({ours})"
    else:
        k = next(k for k, name in enumerate(names) if name != classes.names[k])
        differ = f"'{names[k]}' as class {k}, but the masks have '{classes.names[k]}'"
    raise UserError(
        f"--ckpt_path {path}: has {differ}: name the class list it was trained with (--data.classes), or "
        "other weights"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 6 else [*names[:3], "...", names[-1]])


CompatKey = Literal[
    "data",
    "batch",
    "devices",
    "seed",
    "network",
    "loss",
    "optimizer",
    "schedule",
    "precision",
    "threads",
    "versions",
]
Allowance = Literal["all", CompatKey]
Conditions = dict[str, dict[str, Any]]

_PACKAGES = ("torch", "lightning", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
_FLAGS = {  # where a user changes a value back
    "data": "--data",
    "batch": "--data.batch_size",
    "seed": "--seed_everything",
    "network": "--model",
    "loss": "--model.loss",
    "optimizer": "--model",
    "precision": "--trainer.precision",
}


def run_fingerprint(trainer: Any, module: Any) -> Conditions:
    """What a run depends on, in plain values.

    Args:
        trainer: Lightning's, with a data module of ours that was set up.
        module: A `SegmentationModule`.
    """
    data, own = trainer.datamodule, module.conditions()
    facts = {stage: dict(data.facts(stage)) for stage in ("train", "val")}
    return {
        "data": {
            **{stage: f"{each['split']} ({each['fingerprint']})" for stage, each in facts.items()},
            "images": facts["train"]["images"],
            "size": data.image_size,
            "augmentation": data.parts.augmentation,
            "crop_scale": list(data.parts.scales),
            "sampling": data.parts.sampling,
        },
        "batch": {
            "batch_size": data.batch_size,
            "accumulated": trainer.accumulate_grad_batches,
            **_part(trainer),
        },
        "devices": {"number": trainer.world_size, "kind": trainer.strategy.root_device.type},
        "seed": {"seed": data.seed},
        "network": dict(module.hparams),
        "loss": own["loss"],
        "optimizer": {
            **own["optimizer"],
            "clipping": trainer.gradient_clip_val,
            "average": _average(trainer),
        },
        "schedule": {**own["schedule"], **_length(trainer, module)},
        "precision": {"precision": str(trainer.precision), **own["precision"]},
        "threads": {"threads": torch.get_num_threads()},
        "versions": {name: version(name) for name in _PACKAGES}
        | {"vocseg": __version__, "python": platform.python_version()},
    }


def check_compatible(
    then: Mapping[str, Mapping[str, Any]], now: Conditions, allowed: Sequence[str]
) -> list[str]:
    """Whether a run can be resumed exactly.

    Args:
        then: The conditions that its checkpoint names.
        now: The present ones.
        allowed: Names of those that may differ; `all`: any.

    Returns:
        What differs and is allowed.

    Raises:
        UserError: If it cannot; names the first condition that differs.
    """
    accepted = []
    for name in get_args(CompatKey):
        old, new = then.get(name, now[name]), now[name]
        for key in sorted({*old, *new}):
            if old.get(key) == new.get(key):
                continue
            what = f"{key if key == name else f'{name} ({key})'} {old.get(key)}, now it is {new.get(key)}"
            if "all" not in allowed and name not in allowed:
                raise UserError(_sentence(name, what))
            accepted.append(what)
    return accepted


def _sentence(name: str, what: str) -> str:
    back = f"set {_FLAGS[name]} back" if name in _FLAGS else "go back to it"
    return (
        f"the run was made with {what}, so that it could not go on exactly: {back}, or accept that with "
        f"--allow {name} or --allow all (of fit and finetune: --last_checkpoint.allow_mismatch '[{name}]')"
    )


def _part(trainer: Any) -> dict[str, Any]:
    """How much of an epoch is trained on, where that is not all of it."""
    limit = trainer.limit_train_batches  # 1: a batch; 1.0: all
    if isinstance(limit, float) and limit == 1:
        return {}
    return {"limit_train_batches": limit, "shuffled": not trainer.overfit_batches}


def _average(trainer: Any) -> str | None:
    return next((each.described() for each in trainer.callbacks if isinstance(each, WeightAverager)), None)


def _length(trainer: Any, module: Any) -> dict[str, Any]:
    """A schedule that depends on the length of the whole run cannot go on in a run of another length."""
    if not module.conditions()["schedule"]["needs_total_steps"]:
        return {}
    return {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
