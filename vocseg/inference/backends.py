"""Trained networks of files in every format."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import read_weights, rebuilt
from vocseg.inference import onnx_file, openvino_file, torch_export_file
from vocseg.utils.regular_file import local_file

FORMATS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch_export"}  # others: pytorch
_READERS: dict[str, Any] = {
    "onnx": onnx_file,
    "openvino": openvino_file,
    "torch_export": torch_export_file,
}


class TrainedNetwork(NamedTuple):
    """A trained network with what its file says of it."""

    network: nn.Module  # uint8 RGB images [N,3,H,W] to float32 logits [N,C,H,W], in eval mode
    description: Description  # classes, colours, size, normalisation, as in a run's weights file
    format: str  # `pytorch`, `onnx`, `openvino` or `torch_export`


def file_format(path: str | Path) -> str:
    """Return the format of a file by its name: `pytorch`, `onnx`, `openvino` or `torch_export`."""
    return FORMATS.get(Path(path).suffix.lower(), "pytorch")


def read_description(path: str | Path) -> Description:
    """Read what a file says of its network, without loading an exported one; errors as of `load_trained`."""
    kind = file_format(path)
    if kind == "pytorch":
        return read_weights(path).description
    description: Description = _READERS[kind].read(local_file(path, "--ckpt_path"))
    return description


def load_trained(path: str | Path, threads: int | None = None) -> TrainedNetwork:
    """Load a trained network for inference.

    Args:
        path: `unet_voc.pth`, a `.ckpt`, or a file of `export`: `.onnx`, `.xml` (with its `.bin`), `.pt2`.
        threads: Number of threads of an `.onnx` or `.xml`. None: all cores. The others use torch's number.

    Raises:
        UserError: If the file cannot be read, does not match its description, or contains more than `export`
            writes.
    """
    kind = file_format(path)
    if kind == "pytorch":
        weights = read_weights(path)
        return TrainedNetwork(rebuilt(weights, Path(path)), weights.description, kind)
    network = _READERS[kind].load(local_file(path, "--ckpt_path"), threads).eval()
    return TrainedNetwork(network, network.description, kind)
