"""`unet_voc.pth`: weights that say what they are, and everything that reads weights back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.model.description import describe as describe
from vocseg.model.network import Network, build_network
from vocseg.runs.agreement import Description, check_shape, network_shape
from vocseg.runs.recognition import WEIGHTS_NAME as WEIGHTS_NAME
from vocseg.runs.recognition import described
from vocseg.tensor_files import read_tensors, write_tensors

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
    network = build_network(str(shape["arch"]), str(shape["encoder"]), None, int(shape["classes"]))
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
