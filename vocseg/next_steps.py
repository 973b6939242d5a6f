"""Closing lines of a verb: its results, and the commands that use them."""

import inspect
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from vocseg.data.datamodule import VOCDataModule

_DATA = (  # say which data, and which of them are scored
    *("root", "classes", "image_folder", "image_suffix", "mask_folder", "mask_suffix", "mask_values"),
    *("val_split", "val_fraction", "subset_seed"),
)
_HOLDS = {
    "fit": "panels.png, metrics.csv, config.yaml, checkpoints",
    "finetune": "scores.json, panels.png, metrics.csv, config.yaml, checkpoints",
    "validate": "scores.json, scores of every image",
    "test": "scores.json, scores of every image, predicted masks",
}


def closing_lines(verb: str, folder: Path, weights: Path | None, config: Namespace) -> list[str]:
    """Where results are and what to type next.

    Args:
        verb: fit, finetune, validate or test.
        folder: Of the run.
        weights: What it trained; None: nothing.
        config: Its flags.
    """
    lines = [f"weights  {weights}"] if weights is not None else []
    lines.append(f"results  {folder}  ({_HOLDS[verb]})")
    for k, command in enumerate(_commands(verb, folder, weights, config)):
        lines.append(f"{'next' if k == 0 else '':<9}python -m vocseg {command}")
    return lines


def _commands(verb: str, folder: Path, weights: Path | None, config: Namespace) -> Iterator[str]:
    run = shlex.quote(str(folder))
    if weights is not None:
        file = shlex.quote(str(weights))
        yield f"test --ckpt_path {file}{_data_flags(config['data'])}"
        yield f"predict --ckpt_path {file} --data.images FOLDER"
    before = _run_before(folder)
    if verb in ("validate", "test") and before is not None:
        yield f"compare {shlex.quote(str(before))} {run}"
    yield f"report {run}"


def _data_flags(data: Any) -> str:
    """The flags that name the data, where they are not the defaults."""
    defaults = inspect.signature(VOCDataModule).parameters
    names = (*_DATA, "train_split") if data.get("val_fraction") else _DATA  # the list that is divided
    given = {
        name: data[name] for name in names if data.get(name, defaults[name].default) != defaults[name].default
    }
    return "".join(f" --data.{name} {shlex.quote(str(value))}" for name, value in given.items())


def _run_before(folder: Path) -> Path | None:
    """The run of the same verb before this one, if images were scored in it."""
    number = folder.name.removeprefix("version_")
    before = folder.with_name(f"version_{int(number) - 1}") if number.isdigit() else folder
    return before if before != folder and (before / "scores.json").is_file() else None
