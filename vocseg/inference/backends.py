"""Trained networks of files in every format."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import read_weights, rebuilt


class TrainedNetwork(NamedTuple):
    """A trained network with what its file says of it.

    Attributes:
        network: uint8 RGB images `[N,3,H,W]` to float32 logits `[N,C,H,W]`, in eval mode.
        description: Classes, colours, size, normalisation, as in a run's weights file.
        format: `pytorch`, `onnx`, `openvino` or `torch_export`.
    """

    network: nn.Module
    description: Description
    format: str


def load_trained(path: str | Path) -> TrainedNetwork:
    """Load a run's weights or checkpoint for inference.

    Args:
        path: `unet_voc.pth` or a `.ckpt`.

    Raises:
        UserError: If the file cannot be read or does not match its description.
    """
    weights = read_weights(path)
    return TrainedNetwork(rebuilt(weights, Path(path)), weights.description, "pytorch")
