"""Whether what a file holds is a network of this project, and if not, what it is."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from vocseg.errors import UserError
from vocseg.model.description import DESCRIPTION_KEY, FORMAT, NORMALISATION

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
