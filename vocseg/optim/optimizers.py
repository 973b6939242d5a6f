"""Optimizers and their parameter groups."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from vocseg.errors import UserError
from vocseg.performance import cpu_optimizers, graph_update

OptimizerName = Literal["adam", "adamw", "sgd"]

_CLASSES: dict[OptimizerName, type[Optimizer]] = {
    "adam": graph_update.Adam,
    "adamw": graph_update.AdamW,
    "sgd": graph_update.SGD,
}
_ON_A_CPU: dict[OptimizerName, type[Optimizer]] = {  # their step in one kernel
    "adam": cpu_optimizers.Adam,
    "adamw": cpu_optimizers.AdamW,
    "sgd": cpu_optimizers.SGD,
}


@dataclass(frozen=True)
class OptimizerConfig:
    """What an optimiser is made of.

    Attributes:
        name: `adam`, `adamw` (weight decay apart from the gradient) or `sgd`.
        lr: Learning rate.
        weight_decay: Of weights; never of biases and of what norms learn.
        momentum: Of `sgd`.
        encoder_lr_mult: The encoder's learning rate in parts of `lr`.
    """

    name: OptimizerName = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    encoder_lr_mult: float = 1.0

    def check(self) -> None:
        """See that every number is one to train with.

        Raises:
            UserError: If not.
        """
        for name in ("lr", "weight_decay", "momentum", "encoder_lr_mult"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (name == "lr" and value == 0):  # YAML has .inf
                what = "a finite number above 0" if name == "lr" else "a finite number from 0"
                raise UserError(f"--model.{name} {value}: {what} is wanted")
        if self.momentum >= 1:
            raise UserError(f"--model.momentum {self.momentum}: a number from 0 to below 1 is wanted, as 0.9")

    def described(self) -> dict[str, Any]:
        """What a run that goes on must have in common with itself; settings at rest are left out."""
        there = {"name": _CLASSES[self.name].__name__, "lr": self.lr}
        default = asdict(OptimizerConfig())
        rest = {key: value for key, value in asdict(self).items() if value != default[key]}
        return rest | there


def build_optimizer(
    settings: OptimizerConfig, network: nn.Module, encoder: nn.Module, flavour: Mapping[str, Any]
) -> Optimizer:
    """An optimiser over all parameters of a network.

    Args:
        settings: See there.
        network: Whose parameters.
        encoder: The part of it that may have another learning rate.
        flavour: How its step is computed, in torch's words.
    """
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    options |= {"momentum": settings.momentum} if settings.name == "sgd" else {}
    options |= flavour
    make: Any = _CLASSES[settings.name]
    if options.get("fused") and all(p.device.type == "cpu" for p in network.parameters()):
        make = _ON_A_CPU[settings.name]
        del options["fused"]
    elif settings.name == "sgd":  # torch's kernel fails at parameters that were frozen at first
        options.pop("fused", None)
    return make(parameter_groups(settings, network, encoder), **options)  # type: ignore[no-any-return]


def parameter_groups(
    settings: OptimizerConfig, network: nn.Module, encoder: nn.Module
) -> list[dict[str, Any]]:
    """Parameters that are treated alike, in groups.

    Args:
        settings: See there.
        network: Whose parameters.
        encoder: The part of it that may have another learning rate.

    Returns:
        What optimisers of torch take; one group if all parameters are treated alike.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, options, parameter in _treated(settings, network, encoder):
        groups.setdefault(name, {"params": [], **options})["params"].append(parameter)
    if len(groups) > 1:  # the name under which its learning rate is drawn
        groups = {name: {**group, "name": name} for name, group in groups.items()}
    return list(groups.values())


def _treated(
    settings: OptimizerConfig, network: nn.Module, encoder: nn.Module
) -> Iterator[tuple[str, dict[str, Any], nn.Parameter]]:
    """Each parameter with the name and the options of its group."""
    within = {id(parameter) for parameter in encoder.parameters()}
    for parameter in network.parameters():
        options: dict[str, Any] = {}
        name = "all"
        if settings.encoder_lr_mult != 1:
            name = "encoder" if id(parameter) in within else "decoder"
            factor = settings.encoder_lr_mult if name == "encoder" else 1.0
            options["lr"] = settings.lr * factor
        if settings.weight_decay and parameter.ndim <= 1:  # biases; scales and shifts of norms
            name, options["weight_decay"] = f"{name}, no decay", 0.0
        yield name, options, parameter
