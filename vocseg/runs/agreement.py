"""Whether a file of weights is for this network and these classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vocseg.classes import ClassList, named_classes
from vocseg.errors import UserError

Description = dict[str, Any]


def network_shape(description: Description) -> dict[str, str | int]:
    """What rebuilds the network, under the names of `SegmentationModule`'s arguments."""
    return {
        "arch": description["arch"],
        "encoder": description["encoder"],
        "classes": len(description["classes"]),
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
