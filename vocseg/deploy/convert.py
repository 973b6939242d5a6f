"""Conversion of networks to ONNX, OpenVINO IR and torch.export."""

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from vocseg.checkpoints.compatibility import Description
from vocseg.errors import UserError
from vocseg.inference.exported import INPUT, KEY, ExportSettings, Output, import_optional
from vocseg.models.network import Network
from vocseg.utils.atomic_write import UnwritableError
from vocseg.utils.regular_file import as_json

ExportFormat = Literal["onnx", "openvino", "torch_export"]
SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "torch_export": ".pt2"}
_OPSET = 18  # of ONNX
_MOST_EDGE = 16384  # pixels of an image of any size


class ExportGraph(nn.Module):
    """A network of fixed input size whose graph has the pre- and postprocessing of `predict`.

    For `mask` the input has any size: the image is resized with antialiasing, and the logits are upsampled to
    it.
    """

    def __init__(self, network: Network, size: int, output: Output) -> None:
        """Wrap a network in eval mode with an input of `size` pixels."""
        super().__init__()
        self.network, self.size, self.output = network, size, output

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the outputs.

        Args:
            image: RGB uint8 `[N,3,S,S]`; for `mask` uint8 `[N,3,H,W]`.

        Returns:
            Logits or probabilities, float32 `[N,C,S,S]`; or classes, uint8 `[N,H,W]`, and logits.
        """
        if self.output != "mask":
            logits: Tensor = self.network(image)
            return logits.softmax(1) if self.output == "probabilities" else logits
        height, width = image.shape[-2:]
        logits = self.network(_antialiased(image, self.size))
        full = functional.interpolate(logits, (height, width), mode="bilinear")
        return full.argmax(1).to(torch.uint8), logits


def _antialiased(image: Tensor, size: int) -> Tensor:
    """Pixels 0 to 255, float32 `[N,3,S,S]`, within 1 of Pillow's antialiased bilinear filter.

    Two matrix products: other than an operator for it, every runtime computes them in the same way.
    """
    height, width = image.shape[-2:]
    rows = (image.float() @ _bilinear(width, size).T).round()  # Pillow rounds after each axis
    return (_bilinear(height, size) @ rows).round()


def _bilinear(source: int, target: int) -> Tensor:
    """Weights of the source pixels in each target pixel, float32 `[target,source]`."""
    scale = torch.scalar_tensor(source, dtype=torch.float32) / target
    centres = (torch.arange(target) + 0.5) * scale
    distance = (torch.arange(source) + 0.5)[None] - centres[:, None]
    weights = (1 - (distance / scale.clamp(min=1.0)).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def write_exported(
    path: Path, kind: ExportFormat, network: Network, description: Description, settings: ExportSettings
) -> None:
    """Convert a network in eval mode and write the file, with the suffix of its format; not atomically.

    Raises:
        UserError: If a package is missing.
    """
    if kind == "torch_export":
        model: Any = _program(network, settings)
    else:
        model = onnx_model(network, settings)
        model = model if kind == "onnx" else openvino_model(model)
    save_model(model, path, description, settings)


def save_model(model: Any, path: Path, description: Description, settings: ExportSettings) -> None:
    """Write an `ExportedProgram`, `onnx.ModelProto` or `openvino.Model` with metadata, by the suffix."""
    text = as_json({**description, "export": {**settings._asdict(), "kept": list(settings.kept)}})
    if path.suffix == SUFFIXES["torch_export"]:
        with quiet():
            torch.export.save(model, path, extra_files={KEY: text})
    elif path.suffix == SUFFIXES["onnx"]:
        model.metadata_props.clear()
        model.metadata_props.add(key=KEY, value=text)
        path.write_bytes(model.SerializeToString())
    else:
        model.set_rt_info(text, [KEY])
        import_optional("openvino", "--format openvino").save_model(model, str(path), compress_to_fp16=False)


def onnx_model(network: Network, settings: ExportSettings) -> Any:
    """Convert a network to an `onnx.ModelProto`."""
    import_optional("onnxscript", "--format onnx or openvino")  # used by torch
    with quiet():
        exported: Any = torch.onnx.export(
            _program(network, settings),
            input_names=[INPUT],
            output_names=list(settings.outputs),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    model = exported.model_proto
    for node in model.graph.node:  # stack traces with the paths of this machine
        node.metadata_props.clear()
    return model


def openvino_model(model: Any) -> Any:
    """Convert an `onnx.ModelProto` to an `openvino.Model` with the same names of nodes."""
    openvino = import_optional("openvino", "--format openvino")
    return openvino.convert_model(io.BytesIO(model.SerializeToString()))


def _program(network: Network, settings: ExportSettings) -> ExportedProgram:
    dimensions = {0: Dim("batch", min=1, max=1024)} if settings.dynamic_batch else {}
    edge = settings.size
    shape = (2 if settings.dynamic_batch else 1, 3, edge, edge)
    if settings.output == "mask":
        dimensions |= {2: Dim("height", min=2, max=_MOST_EDGE), 3: Dim("width", min=2, max=_MOST_EDGE)}
        shape = (*shape[:2], edge + 5, edge + 3)  # no size of the network: torch would make it a constant
    example = torch.zeros(shape, dtype=torch.uint8)
    graph = ExportGraph(network, settings.size, settings.output).eval().requires_grad_(False)
    with quiet(), torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=(dimensions,))


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder, and move all of its files when the block ends.

    Raises:
        UserError: If they cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vocseg-export-", dir=path.parent) as folder:
            yield Path(folder) / path.name
            # The named file comes last: it is never there without the others.
            for file in sorted(Path(folder).iterdir(), key=lambda each: each.name == path.name):
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
                os.replace(file, path.with_name(file.name))
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise UnwritableError(path, error) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide messages, advice and progress of the libraries, which do not apply here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
