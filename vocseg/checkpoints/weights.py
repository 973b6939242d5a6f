"""Files of weights: recognition, reading, writing."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vocseg import __version__
from vocseg.checkpoints.compatibility import Description, check_shape, network_shape
from vocseg.errors import UserError
from vocseg.models.metadata import DESCRIPTION_KEY, FORMAT, NORMALISATION
from vocseg.models.module import SegmentationModule
from vocseg.models.network import Network, build_network
from vocseg.utils.safe_load import read_tensors, write_tensors

_CURVES = "metrics.csv"  # what tells the folder of a run that trained from any other folder


def weights_origin(weights: Path | None, folder: Path, module: Any) -> dict[str, Any]:
    """What `scores.json` says of the weights, so that a report finds the run that made them.

    Args:
        weights: The file that was loaded; None: none was.
        folder: Of the run that scores.
        module: What was scored.

    Returns:
        Plain values: file (from the root of the file system, and from the folder, as both may move
        together), folder of the run that trained it or None, network, version.
    """
    where: dict[str, str | None] = {"path": None, "relative": None, "run": None}
    if weights is not None:
        whole = weights.resolve()
        run = str(whole.parent) if (whole.parent / _CURVES).is_file() else None
        where = {"path": str(whole), "relative": os.path.relpath(whole, folder.resolve()), "run": run}
    network = {name: module.hparams.get(name) for name in ("arch", "encoder")}
    return {**where, **network, "vocseg": __version__}


WEIGHTS_NAME = "unet_voc.pth"
_LARGEST = 1 << 14  # edge of an image that anybody trains on


def described(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The parameters in a file, and what it says of them.

    Args:
        path: Of the file, to be named.
        content: What is in it.

    Raises:
        UserError: If it is something else, was made by a newer version, for other inputs, or says nonsense.
    """
    plain = content if isinstance(content, dict) else {}
    description = plain.get("description", plain.get(DESCRIPTION_KEY))
    state = plain.get("state_dict")
    if not isinstance(description, dict) or not isinstance(state, dict):
        raise UserError(f"--ckpt_path {path}: holds no network of vocseg, {_instead(path, content)}")
    if "_instantiator" in (plain.get("hyper_parameters") or {}):
        raise UserError(
            f"--ckpt_path {path}: names a function to be called, which none of ours does; do not trust it"
        )
    number = description.get("format")
    if isinstance(number, int) and number > FORMAT:
        made_by = str(description.get("vocseg", ""))[:40]
        raise UserError(f"--ckpt_path {path}: made by vocseg {made_by}, newer than this one: update vocseg")
    if (wrong := _nonsense(description)) or not _is_state(state):
        raise UserError(
            f"--ckpt_path {path}: its {wrong or 'state_dict'} is not what vocseg writes; name a run's "
            f"{WEIGHTS_NAME} or .ckpt"
        )
    _check_normalisation(path, description["normalisation"])
    return state, description


def plain_network(content: Any) -> dict[str, Tensor]:
    """The parameters in a plain state dict of smp, by smp's names; empty: it is none."""
    if not _is_state(content):
        return {}
    for prefix in ("", "model.", "module."):
        if any(name.startswith(f"{prefix}encoder.") for name in content):
            return {name.removeprefix(prefix): value for name, value in content.items()}
    return {}


def _instead(path: Path, content: Any) -> str:
    """What is in a file that is not ours, and what can be done with it."""
    ours = f"name a run's {WEIGHTS_NAME} or .ckpt"
    if _is_state(content):
        names = list(content)
        if plain_network(content):
            return (
                f"but the bare parameters of a network ('{names[0]}', ...), which do not say of what: {ours} "
                "(fit and finetune start from bare parameters, with --model.arch and --model.encoder)"
            )
        return (
            f"but bare parameters ('{str(names[0])[:60]}', ...): if they are an encoder's, start with "
            f"--model.encoder_weights {path}; else {ours}"
        )
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        return f"but another project's checkpoint of Lightning: {ours}"
    if isinstance(content, dict) and content:
        keys = ", ".join(str(key)[:30] for key in list(content)[:4])
        return f"but another program's ({keys}): {ours}"
    return f"but a {type(content).__name__}: {ours}"


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _nonsense(description: dict[str, Any]) -> str | None:
    """The first entry that cannot be; everything else may rely on the rest."""
    names, colours, size = (description.get(key) for key in ("classes", "colours", "size"))
    count = len(names) if isinstance(names, list) else 0
    sound = {
        "format": type(description.get("format")) is int and description["format"] >= 1,
        "vocseg": isinstance(description.get("vocseg"), str),
        "arch": _is_word(description.get("arch")),
        "encoder": _is_word(description.get("encoder")),
        "classes": 2 <= count <= 255 and isinstance(names, list) and all(isinstance(n, str) for n in names),
        "colours": colours is None or _are_colours(colours, count),
        "size": size is None or (type(size) is int and 1 <= size <= _LARGEST),
        "normalisation": isinstance(description.get("normalisation"), dict),
        "data": isinstance(description.get("data", {}), dict)
        and all(isinstance(part, dict) for part in description.get("data", {}).values()),
    }
    return next((key for key, fine in sound.items() if not fine), None)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.-]{1,100}", value) is not None


def _are_colours(colours: Any, count: int) -> bool:
    def is_colour(colour: Any) -> bool:
        return isinstance(colour, list | tuple) and len(colour) == 3 and all(c in range(256) for c in colour)

    return isinstance(colours, list) and len(colours) == count and all(map(is_colour, colours))


def _check_normalisation(path: Path, theirs: dict[str, Any]) -> None:
    """Whether the network was trained on images that were brought to numbers as they are here."""
    for key, ours in NORMALISATION.items():
        if not _close(theirs.get(key), ours):
            raise UserError(
                f"--ckpt_path {path}: was trained on images with {key} {str(theirs.get(key))[:60]}, but here "
                f"they have {key} {ours}, so it would predict badly: use the version of vocseg that made it"
            )


def _close(theirs: Any, ours: Any) -> bool:
    if isinstance(ours, str):
        return bool(theirs == ours)
    theirs, ours = (value if isinstance(value, Iterable) else [value] for value in (theirs, ours))
    theirs = list(theirs)
    return len(theirs) == len(ours) and all(
        isinstance(a, int | float) and abs(a - b) < 1e-6 * abs(b) for a, b in zip(theirs, ours, strict=True)
    )


_PREFIX = "network.model."  # of the smp model's parameters inside the LightningModule


@dataclass(frozen=True)
class Weights:
    """Parameters under smp's own names, and what the file says of them."""

    state_dict: dict[str, Tensor]
    description: Description


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
    write_tensors({"state_dict": state, "description": description}, path)


def read_weights(path: str | Path) -> Weights:
    """Read `unet_voc.pth` or a Lightning checkpoint of this project; see `read_tensors`.

    Raises:
        UserError: If the file is missing, damaged, something else, or was trained on other inputs.
    """
    state, description = described(Path(path), read_tensors(path))
    return Weights({key.removeprefix(_PREFIX): value for key, value in state.items()}, description)


def load_network(path: str | Path) -> Network:
    """The trained network of a file, ready to predict: logits `[N,C,H,W]` of uint8 images `[N,3,H,W]`.

    Args:
        path: A run's `unet_voc.pth` or `.ckpt`.

    Raises:
        UserError: As `read_weights` and `rebuilt`.
    """
    return rebuilt(read_weights(path), Path(path))


def rebuilt(weights: Weights, path: Path) -> Network:
    """The network that weights say they are of, filled with them, in scoring mode.

    Args:
        weights: Of the network.
        path: Where they are from.

    Raises:
        UserError: If they are not of the network that they name.
    """
    shape = network_shape(weights.description)
    network = build_network(str(shape["arch"]), str(shape["encoder"]), None, int(shape["num_classes"]))
    fill(network, weights, path)
    return network.eval()


def load_weights(module: SegmentationModule, path: str | Path) -> Description:
    """Fill a module's network from a file.

    Raises:
        UserError: As `read_weights`, and if the file holds another network than the module.
    """
    weights, path = read_weights(path), Path(path)
    check_shape(path, network_shape(weights.description), module.hparams)
    fill(module.network, weights, path)
    return weights.description


def fill(network: Network, weights: Weights, path: Path) -> None:
    """Give a network the parameters of a file that says to hold such a one.

    Raises:
        UserError: If it does not.
    """
    try:
        network.model.load_state_dict(weights.state_dict)
    except RuntimeError as fault:
        shape = ", ".join(map(str, network_shape(weights.description).values()))
        raise UserError(
            f"--ckpt_path {path}: its parameters are not those of the network that it says to hold ({shape} "
            "classes): take another file of the run"
        ) from fault
