"""Compatibility of weights with flags, and of a run with its resumption."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from vocseg import __version__
from vocseg.callbacks import find_callback
from vocseg.callbacks.weight_averaging import WeightAverager
from vocseg.data.classes import ClassList, named_classes
from vocseg.errors import UserError

Description = dict[str, Any]


def network_shape(description: Description) -> dict[str, str | int]:
    """Return the arguments of `SegmentationModule` that define the network."""
    arch, encoder = description["arch"], description["encoder"]
    return {"arch": arch, "encoder": encoder, "num_classes": len(description["classes"])}


def check_shape(path: Path, found: dict[str, str | int], wanted: Mapping[str, str | int]) -> None:
    """Raise a `UserError` unless a file contains the wanted network."""
    for name, value in found.items():
        if value != wanted[name]:
            raise UserError(
                f"--ckpt_path {path}: contains a network with {name} {value}, but --model.{name} is "
                f"{wanted[name]}. Leave that flag out, or use other weights."
            )


def described_classes(description: Description) -> ClassList:
    """Return the classes of a file's network."""
    return named_classes(description["classes"], description.get("colours"))


def check_classes(path: Path, description: Description, classes: ClassList) -> None:
    """Raise a `UserError` unless a file's network has the classes of the masks, in the same order."""
    if (names := tuple(description["classes"])) != classes.names:
        pairs = enumerate(zip_longest(names, classes.names))
        k, (found, wanted) = next((k, pair) for k, pair in pairs if pair[0] != pair[1])
        raise UserError(
            f"--ckpt_path {path}: has {len(names)} classes, but the masks have {len(classes)}; class {k} is "
            f"'{found}' there and '{wanted}' here. Give the class list it was trained with (--data.classes), "
            "or use other weights."
        )


CompatKey = Literal[
    "data", "batch", "devices", "seed", "network", "loss",
    "optimizer", "schedule", "precision", "threads", "versions",
]  # fmt: skip
Allowance = Literal["all", CompatKey]
Conditions = dict[str, dict[str, Any]]

_PACKAGES = ("torch", "lightning", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
_FLAGS = {
    **{"data": "--data", "batch": "--data.batch_size", "seed": "--seed_everything", "network": "--model"},
    **{"loss": "--model.loss", "optimizer": "--model", "precision": "--trainer.precision"},
}


def run_fingerprint(trainer: Any, module: Any) -> Conditions:
    """Collect everything that a run's result depends on, as plain values. The data module is set up."""
    data, own = trainer.datamodule, module.conditions()
    facts = {stage: dict(data.facts(stage)) for stage in ("train", "val")}
    averaging = find_callback(trainer, WeightAverager)
    batch = {"batch_size": data.batch_size, "accumulated": trainer.accumulate_grad_batches}
    limit = trainer.limit_train_batches  # 1: one batch; 1.0: all
    if not isinstance(limit, float) or limit != 1:
        batch |= {"limit_train_batches": limit, "shuffled": not trainer.overfit_batches}
    schedule = dict(own["schedule"])
    if schedule["needs_total_steps"]:
        schedule |= {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
    return {
        "data": {
            **{stage: f"{each['split']} ({each['fingerprint']})" for stage, each in facts.items()},
            "images": facts["train"]["images"],
            "size": data.image_size,
            "augmentation": data.parts.augmentation,
            "crop_scale": list(data.parts.scales),
            "sampling": data.parts.sampling,
        },
        "batch": batch,
        "devices": {"number": trainer.world_size, "kind": trainer.strategy.root_device.type},
        "seed": {"seed": data.seed},
        "network": dict(module.hparams),
        "loss": own["loss"],
        "optimizer": {
            **own["optimizer"],
            "clipping": trainer.gradient_clip_val,
            "average": averaging and averaging.described(),
        },
        "schedule": schedule,
        "precision": {"precision": str(trainer.precision), **own["precision"]},
        "threads": {"threads": torch.get_num_threads()},
        "versions": {name: version(name) for name in _PACKAGES}
        | {"vocseg": __version__, "python": platform.python_version()},
    }


def check_compatible(
    saved: Mapping[str, Mapping[str, Any]], current: Conditions, allowed: Sequence[str]
) -> list[str]:
    """Return the differences of two `run_fingerprint`s that are allowed; `all` allows any.

    Raises:
        UserError: For the first difference that is not allowed.
    """
    accepted = []
    for name in get_args(CompatKey):
        old, new = saved.get(name, current[name]), current[name]
        for key in sorted({*old, *new}, key=lambda key: (key != "name", key)):  # a name explains the rest
            if old.get(key) == new.get(key):
                continue
            what = f"{key if key == name else f'{name} ({key})'} {old.get(key)}, now it is {new.get(key)}"
            if "all" not in allowed and name not in allowed:
                back = f"Set {_FLAGS[name]} back" if name in _FLAGS else "Restore it"
                raise UserError(
                    f"the run cannot be resumed exactly: it was made with {what}. {back}, or accept it with "
                    f"--allow {name} or --allow all (fit and finetune: --last_checkpoint.allow_mismatch "
                    f"'[{name}]')."
                )
            accepted.append(what)
    return accepted
