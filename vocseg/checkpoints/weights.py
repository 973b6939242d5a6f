"""Files of weights: recognition, reading, writing."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from vocseg import __version__
from vocseg.checkpoints.compatibility import Description, check_shape, network_shape
from vocseg.errors import UserError
from vocseg.models.metadata import DESCRIPTION_KEY, FORMAT, NORMALISATION
from vocseg.models.module import SegmentationModule
from vocseg.models.network import Network, build_network
from vocseg.utils.safe_load import read_tensors, write_tensors

WEIGHTS_NAME = "unet_voc.pth"
_PREFIX = "network.model."  # of the smp model's parameters in the LightningModule
_MAX_SIZE = 1 << 14  # side length of images


def weights_origin(weights: Path | None, folder: Path, module: Any) -> dict[str, Any]:
    """Describe the weights for `scores.json`, so that a report finds the run that trained them.

    Returns:
        Plain values: absolute and relative path, training run or None, digest of the parameters (None: of an
        exported file), network, version.
    """
    where: dict[str, str | None] = {"path": None, "relative": None, "run": None}
    if weights is not None:
        path = weights.resolve()
        run = str(path.parent) if (path.parent / "metrics.csv").is_file() else None
        where = {"path": str(path), "relative": os.path.relpath(path, folder.resolve()), "run": run}
    network = {name: module.hparams.get(name) for name in ("arch", "encoder")}
    scored = getattr(module, "network", None)  # of another class if the file was written by `export`
    digest = parameters_digest(scored.model.state_dict()) if isinstance(scored, Network) else None
    return {**where, "parameters": digest, **network, "vocseg": __version__}


def parameters_digest(state: Mapping[str, Tensor]) -> str:
    """Return a digest of parameters by smp's names. Weights that were moved or copied have the same."""
    digest = xxhash.xxh3_128()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def described(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return parameters and description of a file's content.

    Raises:
        UserError: If it is of another program or a newer version, for other inputs, or invalid.
    """
    plain = content if isinstance(content, dict) else {}
    description = plain.get("description", plain.get(DESCRIPTION_KEY))
    state = plain.get("state_dict")
    if not isinstance(description, dict) or not isinstance(state, dict):
        raise UserError(f"--ckpt_path {path}: contains no network of vocseg, but {_foreign_content(content)}")
    if "_instantiator" in (plain.get("hyper_parameters") or {}):
        raise UserError(
            f"--ckpt_path {path}: contains a function to call, which vocseg never writes. Do not trust it."
        )
    check_description(path, description)
    if not _is_state(state):
        raise UserError(_not_ours(path, "state_dict"))
    return state, description


def check_description(path: Path, description: dict[str, Any]) -> None:
    """Raise a `UserError` if a file's description is of a newer version, for other inputs, or invalid."""
    number = description.get("format")
    if isinstance(number, int) and number > FORMAT:
        made_by = str(description.get("vocseg", ""))[:40]
        raise UserError(f"--ckpt_path {path}: made by vocseg {made_by}, newer than this one. Update vocseg.")
    if not _is_valid(description):
        raise UserError(_not_ours(path, "description"))
    for key, wanted in NORMALISATION.items():
        if (found := str(description["normalisation"].get(key))) != str(wanted):
            raise UserError(
                f"--ckpt_path {path}: was trained on images with {key} {found[:60]}, but this version uses "
                f"{key} {wanted}. Use the version of vocseg that made it."
            )


def _not_ours(path: Path, entry: str) -> str:
    return f"--ckpt_path {path}: its {entry} is not what vocseg writes. Use a run's {WEIGHTS_NAME} or .ckpt."


def _is_valid(description: dict[str, Any]) -> bool:
    names, colours, size = (description.get(key) for key in ("classes", "colours", "size"))
    words, data = (description.get("arch"), description.get("encoder")), description.get("data", {})
    return (
        type(description.get("format")) is int
        and isinstance(description.get("vocseg"), str)
        and all(isinstance(word, str) and re.fullmatch(r"[\w.-]{1,100}", word) for word in words)
        and isinstance(names, list)
        and 2 <= len(names) <= 255
        and all(isinstance(name, str) for name in names)
        and (colours is None or _are_colours(colours, len(names)))
        and (size is None or (type(size) is int and 1 <= size <= _MAX_SIZE))
        and isinstance(description.get("normalisation"), dict)
        and isinstance(data, dict)
        and all(isinstance(part, dict) for part in data.values())
    )


def _are_colours(colours: Any, count: int) -> bool:
    def is_colour(colour: Any) -> bool:
        return isinstance(colour, list | tuple) and len(colour) == 3 and all(c in range(256) for c in colour)

    return isinstance(colours, list) and len(colours) == count and all(map(is_colour, colours))


def plain_network(content: Any) -> dict[str, Tensor]:
    """Return the parameters of a bare state dict of smp by smp's names, or an empty dict if it is not one."""
    if not _is_state(content):
        return {}
    for prefix in ("", "model.", "module."):
        if any(name.startswith(f"{prefix}encoder.") for name in content):
            return {name.removeprefix(prefix): value for name, value in content.items()}
    return {}


def _foreign_content(content: Any) -> str:
    """Describe the content of another program's file, with a remedy."""
    keys = ", ".join(str(key)[:60] for key in list(content)[:4]) if isinstance(content, dict) else ""
    if not _is_state(content):
        what = f"data of another program ({keys or type(content).__name__})"
        return f"{what}. Use a run's {WEIGHTS_NAME} or .ckpt."
    return (
        f"bare parameters ({keys}) without a description. Use a run's {WEIGHTS_NAME} or .ckpt. fit and "
        "finetune start from a network's parameters, with --model.arch and --model.encoder, and from an "
        "encoder's with --model.encoder_weights."
    )


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


@dataclass(frozen=True)
class Weights:
    """Parameters by smp's names, and the file's description of them."""

    state_dict: dict[str, Tensor]
    description: Description


def save_weights(
    path: Path,
    module: SegmentationModule,
    description: Description,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write `{"state_dict": ..., "description": ...}` atomically. `state` replaces the module's state dict.

    `smp_model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])` works without vocseg.
    """
    named = (module.state_dict() if state is None else state).items()
    state = {
        key.removeprefix(_PREFIX): value.detach().cpu().contiguous()
        for key, value in named
        if key.startswith(_PREFIX)
    }
    write_tensors({"state_dict": state, "description": description}, path)


def read_weights(path: str | Path) -> Weights:
    """Read `unet_voc.pth` or a Lightning checkpoint of this package. See `read_tensors`.

    Raises:
        UserError: If the file is missing, damaged, of another type, or was trained on other inputs.
    """
    state, description = described(Path(path), read_tensors(path))
    return Weights({key.removeprefix(_PREFIX): value for key, value in state.items()}, description)


def load_network(path: str | Path) -> Network:
    """Load a trained network for inference: logits `[N,C,H,W]` of uint8 images `[N,3,H,W]`.

    Raises:
        UserError: If the file is missing, damaged, of another type, or not the network that it describes.
    """
    return rebuilt(read_weights(path), Path(path))


def rebuilt(weights: Weights, path: Path) -> Network:
    """Build the described network with its weights, in eval mode."""
    shape = network_shape(weights.description)
    network = build_network(str(shape["arch"]), str(shape["encoder"]), None, int(shape["num_classes"]))
    fill(network, weights, path)
    return network.eval()


def load_weights(module: SegmentationModule, path: str | Path) -> Description:
    """Load a file into a module's network.

    Raises:
        UserError: As `read_weights`, and if the file contains another network.
    """
    weights, path = read_weights(path), Path(path)
    check_shape(path, network_shape(weights.description), module.hparams)
    fill(module.network, weights, path)
    return weights.description


def fill(network: Network, weights: Weights, path: Path) -> None:
    """Load weights into the network that they describe, or raise a `UserError`."""
    try:
        network.model.load_state_dict(weights.state_dict)
    except RuntimeError as error:
        shape = ", ".join(map(str, network_shape(weights.description).values()))
        raise UserError(
            f"--ckpt_path {path}: its parameters do not match its description ({shape} classes). Use another "
            "file of the run."
        ) from error
