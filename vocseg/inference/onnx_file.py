"""ONNX files: checks, metadata, inference by onnxruntime."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vocseg.checkpoints.compatibility import Description
from vocseg.errors import UserError, shown
from vocseg.inference.exported import (
    INPUT,
    KEY,
    MOST_BYTES,
    ExportedNetwork,
    ExportSettings,
    exported_settings,
    missing,
    unreadable,
)
from vocseg.utils.regular_file import read_regular

_DOMAINS = {"", "ai.onnx"}  # of ONNX itself: no operator of another domain is run


def read_onnx(path: Path) -> tuple[Any, Description, ExportSettings]:
    """Read an ONNX file that `export` wrote, without running anything in it.

    Returns:
        `onnx.ModelProto` without the content of external files, description, and settings of the export.

    Raises:
        UserError: If it is no such file, has custom operators, functions or sub-graphs, or refers to data
            that is not beside it.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing("onnx", f"--ckpt_path {path}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_regular(path, MOST_BYTES)[0])
    except OSError as error:
        raise UserError(f"--ckpt_path {path}: cannot be read ({error.strerror}). Use another.") from error
    except Exception as error:  # protobuf's DecodeError, whose module depends on the implementation
        raise UserError(f"--ckpt_path {path}: is not an ONNX file, or is damaged. Use another.") from error
    if not model.graph.node or not model.opset_import:
        raise UserError(f"--ckpt_path {path}: is not an ONNX file, or is damaged. Use another.")
    for name, tensor in _tensors(model, path):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(path, name, tensor)
    texts = [entry.value for entry in model.metadata_props if entry.key == KEY]
    try:
        content = json.loads(texts[0]) if texts else None
    except (ValueError, RecursionError):
        content = None
    return model, *exported_settings(path, content)


def _tensors(model: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of all constants; the operators are checked on the way."""
    foreign = {each.domain for each in model.opset_import} | {node.domain for node in model.graph.node}
    if names := sorted(foreign - _DOMAINS):
        raise UserError(_custom(path, f"operators of the domain '{shown(names[0], 40)}'"))
    if model.functions:
        raise UserError(_custom(path, "functions"))
    yield from ((shown(each.name, 60), each) for each in model.graph.initializer)
    for sparse in model.graph.sparse_initializer:
        yield from ((shown(sparse.values.name, 60), each) for each in (sparse.values, sparse.indices))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.graphs or attribute.HasField("g"):
                raise UserError(_custom(path, f"a sub-graph in '{shown(node.name, 40)}'"))
            if attribute.sparse_tensor.values.dims or attribute.sparse_tensors:
                raise UserError(_custom(path, f"a sparse constant in '{shown(node.name, 40)}'"))
            for tensor in (attribute.t, *attribute.tensors):
                yield shown(node.name, 60), tensor


def _custom(path: Path, what: str) -> str:
    return f"--ckpt_path {path}: has {what}, which `export` never writes. It is not loaded."


def _check_external(path: Path, name: str, tensor: Any) -> None:
    """Check that the data of a tensor is in a regular file in the same folder."""
    place = {entry.key: entry.value for entry in tensor.external_data}
    location = place.get("location", "")
    file = path.parent / location
    try:
        beside = Path(location).name == location and file.is_file() and not file.is_symlink()
        fits = beside and int(place.get("offset", 0)) >= 0 <= int(place.get("length", 0))
        fits = fits and int(place.get("offset", 0)) + int(place.get("length", 0)) <= file.stat().st_size
    except (OSError, ValueError):
        fits = False
    if not fits or file.stat().st_size > MOST_BYTES:
        raise UserError(
            f"--ckpt_path {path}: the data of '{name}' is not in a file beside it ('{shown(location, 60)}'). "
            "Copy both files into one folder."
        )


def load_onnx(path: Path, threads: int | None = None) -> tuple[ExportedNetwork, Description]:
    """Load an ONNX file for inference on the CPU.

    Args:
        path: The file.
        threads: Number of threads. None: all cores.

    Raises:
        UserError: As `read_onnx`, and if onnxruntime cannot load it.
    """
    model, description, settings = read_onnx(path)
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", f"--ckpt_path {path}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings about its own optimisations
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    # Threads that spin between two images take the cores of those that decode and write.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    external = any(tensor.data_location for _, tensor in _tensors(model, path))
    try:
        session = onnxruntime.InferenceSession(
            str(path) if external else model.SerializeToString(), options, ["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a class for each fault
        raise unreadable(path, error) from error
    names = list(settings.outputs)

    def run(pixels: Any) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {INPUT: pixels}), strict=True))

    return ExportedNetwork(run, settings, len(description["classes"]), path), description
