"""Trained networks of files in every format."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import read_weights, rebuilt
from vocseg.utils.regular_file import local_file

FORMATS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch_export"}  # others: pytorch


class TrainedNetwork(NamedTuple):
    """A trained network with what its file says of it."""

    network: nn.Module  # uint8 RGB images [N,3,H,W] to float32 logits [N,C,H,W], in eval mode
    description: Description  # classes, colours, size, normalisation, as in a run's weights file
    format: str  # `pytorch`, `onnx`, `openvino` or `torch_export`


def file_format(path: str | Path) -> str:
    """Return the format of a file by its name: `pytorch`, `onnx`, `openvino` or `torch_export`."""
    return FORMATS.get(Path(path).suffix.lower(), "pytorch")


def read_description(path: str | Path) -> Description:
    """Read what a file says of its network, without loading an exported one.

    Raises:
        UserError: As `load_trained`.
    """
    kind, file = file_format(path), Path(path)
    if kind == "pytorch":
        return read_weights(path).description
    local_file(path, "--ckpt_path")
    if kind == "onnx":
        from vocseg.inference.onnx_file import read_onnx

        return read_onnx(file)[1]
    if kind == "openvino":
        from vocseg.inference.openvino_file import read_openvino

        return read_openvino(file)[0]
    from vocseg.inference.torch_export_file import read_torch_export

    return read_torch_export(file)[0]


def load_trained(path: str | Path, threads: int | None = None) -> TrainedNetwork:
    """Load a trained network for inference.

    Args:
        path: `unet_voc.pth`, a `.ckpt`, or a file of `export`: `.onnx`, `.xml` (with its `.bin`), `.pt2`.
        threads: Number of threads of an `.onnx` or `.xml`. None: all cores. The others use torch's number.

    Raises:
        UserError: If the file cannot be read, does not match its description, or contains more than `export`
            writes.
    """
    kind, file = file_format(path), Path(path)
    if kind == "pytorch":
        weights = read_weights(path)
        return TrainedNetwork(rebuilt(weights, file), weights.description, kind)
    local_file(path, "--ckpt_path")
    # Their libraries are optional, and imported by the file of their format only.
    if kind == "onnx":
        from vocseg.inference.onnx_file import load_onnx

        network, description = load_onnx(file, threads)
    elif kind == "openvino":
        from vocseg.inference.openvino_file import load_openvino

        network, description = load_openvino(file, threads)
    else:
        from vocseg.inference.torch_export_file import load_torch_export

        network, description = load_torch_export(file)
    return TrainedNetwork(network.eval(), description, kind)
