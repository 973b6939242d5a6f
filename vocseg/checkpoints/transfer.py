"""Weights for other classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import plain_network, read_weights
from vocseg.data.classes import ClassList
from vocseg.errors import UserError, some
from vocseg.models.module import SegmentationModule
from vocseg.utils.safe_load import read_tensors


@dataclass(frozen=True)
class Pretrained:
    """Parameters of a trained network.

    Attributes:
        path: File they are from.
        state_dict: Parameters by smp's names.
        description: Description in the file. None: a bare state dict of smp.
    """

    path: Path
    state_dict: Mapping[str, Tensor]
    description: Description | None

    def has_classes(self, classes: ClassList) -> bool:
        """Return whether the file describes exactly these classes, in this order."""
        return self.description is not None and tuple(self.description["classes"]) == classes.names


def read_pretrained(path: str | Path) -> Pretrained:
    """Read `unet_voc.pth`, a checkpoint of this package, or a bare state dict of smp.

    Raises:
        UserError: If the file is missing, damaged or of another type.
    """
    if plain := plain_network(read_tensors(path, mapped=True)):
        return Pretrained(Path(path), plain, None)
    weights = read_weights(path)
    return Pretrained(Path(path), weights.state_dict, weights.description)


def transfer(module: SegmentationModule, pretrained: Pretrained, classes: ClassList) -> str:
    """Load a network except for its last layer, of which only rows of classes with the same name are loaded.

    Returns:
        A sentence on the rows that were copied.

    Raises:
        UserError: If the weights are of another network.
    """
    own, state = module.network.model.state_dict(), dict(pretrained.state_dict)
    head = module.network.head
    rows = _matching_rows(pretrained, state.get(head[0]), classes)
    try:
        for key in head:
            fresh = own[key].clone()
            for to, row in rows.items():
                fresh[to] = state[key][row]
            state[key] = fresh
        module.network.model.load_state_dict(state)
    except (RuntimeError, KeyError, IndexError) as error:
        content = "the parameters" if pretrained.description else "bare parameters"
        raise UserError(
            f"--ckpt_path {pretrained.path}: contains {content}, but not of {module.hparams['arch']} with "
            f"the encoder {module.hparams['encoder']}. Set --model.arch and --model.encoder to its network."
        ) from error
    copied = [name for k, name in enumerate(classes.names) if k in rows]
    new = [name for k, name in enumerate(classes.names) if k not in rows]
    if pretrained.description is None and copied:
        return (
            f"the file does not name its {len(copied)} classes: they are assumed to be those of the data, in "
            f"their order ({some(copied, 8)})"
        )
    known = f"the rows of {some(copied, 8)} are copied" if copied else "no row is copied"
    return (
        f"the weights are for other classes: in the last layer {known}; new: "
        f"{some(new, 8) if new else 'none'}"
    )


def _matching_rows(pretrained: Pretrained, weight: Tensor | None, classes: ClassList) -> dict[int, int]:
    """Map rows of the new last layer to rows of the old one."""
    if pretrained.description is None:
        same = weight is not None and weight.ndim > 0 and len(weight) == len(classes)
        return {k: k for k in range(len(classes))} if same else {}
    names = list(pretrained.description["classes"])
    return {k: names.index(name) for k, name in enumerate(classes.names) if name in names}
