"""Settings of a training that differ from the defaults of `fit`."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from vocseg.config.parser import RECIPES
from vocseg.utils.yaml_loader import read_yaml

Plain = Mapping[str, Any]

# Settings of the machine, and paths, which a card must not publish.
_LEFT_OUT = {
    "model.performance",
    *("data.root", "data.classes", "data.predict_dir", "data.num_workers", "data.timeout", "data.seed"),
    *("data.on_read_error", "data.cache", "data.cache_dir", "data.download", "data.verify_files"),
}
_TRAINER = (
    *("max_epochs", "max_steps", "max_time", "precision", "accumulate_grad_batches", "gradient_clip_val"),
    *("gradient_clip_algorithm", "limit_train_batches", "limit_val_batches", "sync_batchnorm", "callbacks"),
)


def changed_settings(settings: Plain) -> dict[str, Any]:
    """The part of a `config.yaml` that `--config` needs beside the defaults of `fit`.

    Args:
        settings: Content of the `config.yaml`.

    Returns:
        Nested plain values without paths: seed, `model`, `data`, `trainer` and `weight_averaging`.
    """
    defaults = dict(_defaults())
    found: dict[str, Any] = {"seed_everything": settings.get("seed_everything")}
    groups = {name: settings.get(name) for name in ("model", "data", "trainer", "weight_averaging")}
    for key, value in _flat({name: each for name, each in groups.items() if isinstance(each, Mapping)}):
        if key in defaults and value != defaults[key] and not _left_out(key):
            *outer, last = key.split(".")
            inner = found
            for group in outer:
                inner = inner.setdefault(group, {})
            inner[last] = _without_folders(value)
    return {key: value for key, value in found.items() if value is not None}


def _left_out(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _LEFT_OUT)


def _without_folders(value: Any) -> Any:
    """A value in which absolute paths are names of files."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    absolute = isinstance(value, str) and (value.startswith("~") or PurePath(value).is_absolute())
    return PurePath(value).name if absolute else value


def _defaults() -> Iterator[tuple[str, Any]]:
    """Values by dotted key: those of the classes, then those of the recipe `fit`."""
    from lightning.pytorch import Trainer

    from vocseg.callbacks.weight_averaging import WeightAverager
    from vocseg.data.datamodule import VOCDataModule
    from vocseg.models.module import SegmentationModule

    kinds = {"model": SegmentationModule, "data": VOCDataModule, "weight_averaging": WeightAverager}
    for group, kind in kinds.items():
        for name, each in inspect.signature(kind).parameters.items():
            yield from _flat({group: {name: each.default}})
    trainer = inspect.signature(Trainer).parameters
    yield from ((f"trainer.{name}", trainer[name].default) for name in _TRAINER)
    yield from _flat(read_yaml(RECIPES / "fit.yaml", "recipe fit"))


def _flat(values: Plain, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key. Tuples are lists, and paths texts, as in YAML."""
    for name, value in values.items():
        plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(plain, Mapping):
            yield from _flat(plain, f"{prefix}{name}.")
        else:
            text = str(plain) if isinstance(plain, Path) else plain
            yield f"{prefix}{name}", list(text) if isinstance(text, tuple) else text
