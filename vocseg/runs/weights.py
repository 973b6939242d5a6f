"""`unet_voc.pth`: weights that say what they are, and everything that reads weights back."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocseg import __version__
from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.runs.agreement import Description, check_shape, network_shape
from vocseg.scores import Score
from vocseg.voc import IGNORE_INDEX, IMAGENET_MEAN, IMAGENET_STD

FORMAT = 1
WEIGHTS_NAME = "unet_voc.pth"
DESCRIPTION_KEY = "vocseg"  # where a Lightning checkpoint holds the description

_PREFIX = "network.model."  # of the smp model's parameters inside the LightningModule


@dataclass(frozen=True)
class Weights:
    """Parameters under smp's own names, and what the file says of them."""

    state_dict: dict[str, Tensor]
    description: Description


def describe(
    module: SegmentationModule, size: int | None, score: Score | None, data: Mapping[str, Any] | None = None
) -> Description:
    """What a file must say to be used without anything else; plain values only.

    Args:
        module: Whose network it is.
        size: Edge in pixels of the images it was trained on, if that is known.
        score: What it reached, if it was scored.
        data: What it was trained and scored on: lists, numbers of images, fingerprints.
    """
    return {
        "format": FORMAT,
        "vocseg": __version__,
        "arch": module.hparams["arch"],
        "encoder": module.hparams["encoder"],
        "classes": list(module.class_list.names),
        "colours": [list(colour) for colour in module.class_list.colours],
        "ignore_index": IGNORE_INDEX,
        "size": size,
        "data": dict(data or {}),
        "normalisation": {
            "channels": "RGB",
            "scale": 255.0,
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        "score": None if score is None else score.as_dict(matrix=False),
    }


def save_weights(
    path: Path,
    module: SegmentationModule,
    description: Description,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write `{"state_dict": ..., "description": ...}`, whole or not at all.

    `smp_model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])` needs nothing of vocseg.

    Args:
        path: Where to.
        module: Whose network it is.
        description: See `describe`.
        state: What to write instead of the module's present parameters, by the module's names for them.
    """
    named = (module.state_dict() if state is None else state).items()
    state = {
        key.removeprefix(_PREFIX): value.detach().cpu().contiguous()
        for key, value in named
        if key.startswith(_PREFIX)
    }
    part = path.with_name(f".{path.name}.part")
    torch.save({"state_dict": state, "description": description}, part)
    os.replace(part, path)


def read_weights(path: Path) -> Weights:
    """Read `unet_voc.pth` or a Lightning checkpoint of this project, with `weights_only=True`.

    Raises:
        UserError: If the file is missing, damaged, or something else.
    """
    if not path.is_file():
        raise UserError(f"--ckpt_path {path}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises anything from KeyError to UnpicklingError on foreign bytes
        raise UserError(
            f"--ckpt_path {path}: not a readable file of weights ({type(fault).__name__})"
        ) from fault
    content = content if isinstance(content, dict) else {}
    description = content.get("description", content.get(DESCRIPTION_KEY))
    if not isinstance(description, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(
            f"--ckpt_path {path}: holds no network of vocseg; name a run's {WEIGHTS_NAME} or .ckpt"
        )
    if description["format"] > FORMAT:
        raise UserError(
            f"--ckpt_path {path}: made by vocseg {description['vocseg']}, newer than this one: update vocseg"
        )
    state = {key.removeprefix(_PREFIX): value for key, value in content["state_dict"].items()}
    return Weights(state, description)


def load_weights(module: SegmentationModule, path: Path) -> Description:
    """Fill a module's network from a file.

    Raises:
        UserError: As `read_weights`, and if the file holds another network than the module.
    """
    weights = read_weights(path)
    check_shape(path, network_shape(weights.description), module.hparams)
    module.network.model.load_state_dict(weights.state_dict)
    return weights.description
