"""Weights for other classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import plain_network, read_weights
from vocseg.data.classes import ClassList
from vocseg.errors import UserError, shown
from vocseg.models.module import SegmentationModule
from vocseg.utils.safe_load import read_tensors


@dataclass(frozen=True)
class Pretrained:
    """The parameters of a trained network.

    Attributes:
        path: Where they are from.
        state_dict: By smp's names.
        description: What the file says of them; None: it is a plain state dict of smp.
    """

    path: Path
    state_dict: Mapping[str, Tensor]
    description: Description | None

    def knows(self, classes: ClassList) -> bool:
        """Whether it is certain that the network tells just these classes apart, in their order."""
        return self.description is not None and tuple(self.description["classes"]) == classes.names


def read_pretrained(path: str | Path) -> Pretrained:
    """Read `unet_voc.pth`, a checkpoint of this project, or a plain state dict of smp.

    Raises:
        UserError: If the file is missing, damaged or something else.
    """
    if plain := plain_network(read_tensors(path, mapped=True)):
        return Pretrained(Path(path), plain, None)
    weights = read_weights(path)
    return Pretrained(Path(path), weights.state_dict, weights.description)


def transfer(module: SegmentationModule, pretrained: Pretrained, classes: ClassList) -> str:
    """Fill a network for other classes: all but the last layer, and its rows of classes with the same name.

    The other rows stay as they are.

    Args:
        module: Whose network it is.
        pretrained: The weights.
        classes: Those of the data.

    Returns:
        Which rows were copied, for the user.

    Raises:
        UserError: If the weights are of another network.
    """
    own, theirs = module.network.model.state_dict(), dict(pretrained.state_dict)
    head = module.network.head
    rows = _rows(pretrained, theirs.get(head[0]), classes)
    try:
        for key in head:
            fresh = own[key].clone()
            for to, row in rows.items():
                fresh[to] = theirs[key][row]
            theirs[key] = fresh
        module.network.model.load_state_dict(theirs)
    except (RuntimeError, KeyError, IndexError) as fault:
        shape = f"{module.hparams['arch']} with the encoder {module.hparams['encoder']}"
        holds = "the parameters" if pretrained.description else "the bare parameters of a network"
        raise UserError(
            f"--ckpt_path {pretrained.path}: holds {holds}, but not of {shape}: name its network with "
            "--model.arch and --model.encoder"
        ) from fault
    return _said(rows, classes, pretrained)


def _rows(pretrained: Pretrained, weight: Tensor | None, classes: ClassList) -> dict[int, int]:
    """Which row of the old last layer becomes which of the new one."""
    if pretrained.description is None:
        same = weight is not None and weight.ndim > 0 and len(weight) == len(classes)
        return {k: k for k in range(len(classes))} if same else {}
    names = list(pretrained.description["classes"])
    return {k: names.index(name) for k, name in enumerate(classes.names) if name in names}


def _said(rows: Mapping[int, int], classes: ClassList, pretrained: Pretrained) -> str:
    copied = [name for k, name in enumerate(classes.names) if k in rows]
    new = [name for k, name in enumerate(classes.names) if k not in rows]
    if pretrained.description is None and copied:
        return (
            f"the file does not name its {len(copied)} classes: they are taken to be those of the data, in "
            f"their order ({_some(copied)})"
        )
    known = f"the rows of {_some(copied)} are copied" if copied else "no row is copied"
    return f"the weights know other classes: in the last layer {known}; new: {_some(new) if new else 'none'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(shown(name, 40) for name in names[:8]) + more
