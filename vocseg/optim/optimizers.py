"""Optimizers, and freezing of the encoder."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn, optim
from torch.optim import Optimizer

from vocseg.errors import UserError


@dataclass(frozen=True)
class EncoderFreezer:
    """Freezes an encoder's weights and BatchNorm statistics for the first epochs.

    Attributes:
        epochs: Number of epochs.
    """

    epochs: int = 0

    def before_step(self, encoder: nn.Module, epoch: int, single_process: bool) -> None:
        """Freeze or unfreeze before a step, as validation and resume may have come between.

        DDP expects a gradient of every parameter, so that several processes compute them and
        `clear_gradients` drops them.
        """
        if not self.epochs:
            return
        frozen = epoch < self.epochs
        if encoder.training == frozen:
            encoder.train(not frozen)
        for parameter in encoder.parameters():
            parameter.requires_grad_(not (frozen and single_process))

    def clear_gradients(self, encoder: nn.Module, epoch: int) -> None:
        """Remove the gradients of a frozen encoder before the optimizer's step."""
        if epoch < self.epochs:
            for parameter in encoder.parameters():
                parameter.grad = None


OptimizerName = Literal["adam", "adamw", "sgd"]

_CLASSES: dict[OptimizerName, type[Optimizer]] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}


@dataclass(frozen=True)
class OptimizerConfig:
    """Configuration of an optimizer.

    Attributes:
        name: `adam`, `adamw` or `sgd`.
        lr: Learning rate.
        weight_decay: Weight decay. Not applied to biases and normalisation parameters.
        momentum: Momentum of `sgd`.
        encoder_lr_mult: Multiplier on the encoder's learning rate.
    """

    name: OptimizerName = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    encoder_lr_mult: float = 1.0

    def __post_init__(self) -> None:
        """Raise `UserError` if a number is not finite, as YAML's `.inf`."""
        for name in ("lr", "weight_decay", "momentum", "encoder_lr_mult"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise UserError(f"--model.{name} {value} is not finite. Give a number, for example 1e-4.")

    def described(self) -> dict[str, Any]:
        """Settings that a resumed run must share. Those with default values are left out."""
        default = asdict(OptimizerConfig())
        changed = {key: value for key, value in asdict(self).items() if value != default[key]}
        return changed | {"name": _CLASSES[self.name].__name__, "lr": self.lr}


def build_optimizer(
    config: OptimizerConfig, network: nn.Module, encoder: nn.Module, options: Mapping[str, Any]
) -> Optimizer:
    """Build an optimizer over all parameters of a network.

    Args:
        config: Configuration.
        network: Owner of the parameters.
        encoder: The part of it that may have another learning rate.
        options: Further arguments of the optimizer, such as `fused`.
    """
    arguments: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, **options}
    if config.name == "sgd":
        arguments["momentum"] = config.momentum
        # torch's fused kernel needs momentum of all parameters or of none; frozen ones get theirs later.
        arguments.pop("fused", None)
    make: Any = _CLASSES[config.name]
    return make(parameter_groups(config, network, encoder), **arguments)  # type: ignore[no-any-return]


def parameter_groups(config: OptimizerConfig, network: nn.Module, encoder: nn.Module) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay; arguments as of `build_optimizer`."""
    in_encoder = {id(parameter) for parameter in encoder.parameters()}
    groups: dict[str, dict[str, Any]] = {}
    for parameter in network.parameters():
        name, options = "all", dict[str, Any]()
        if config.encoder_lr_mult != 1:
            name = "encoder" if id(parameter) in in_encoder else "decoder"
            options["lr"] = config.lr * (config.encoder_lr_mult if name == "encoder" else 1.0)
        if config.weight_decay and parameter.ndim <= 1:  # biases and normalisation parameters
            name, options["weight_decay"] = f"{name}, no decay", 0.0
        groups.setdefault(name, {"params": [], **options})["params"].append(parameter)
    if len(groups) > 1:  # the name of the learning rate's curve
        groups = {name: {**group, "name": name} for name, group in groups.items()}
    return list(groups.values())


def clip_gradients(optimizer: Optimizer, limit: float, algorithm: str | None) -> None:
    """Clip gradients to a norm of all together, or with `algorithm` "value" to an absolute value."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if algorithm == "value":
        nn.utils.clip_grad_value_(parameters, limit)
    else:
        nn.utils.clip_grad_norm_(parameters, limit)
