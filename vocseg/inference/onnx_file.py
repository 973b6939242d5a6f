"""ONNX files: checks, metadata, inference by onnxruntime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vocseg.checkpoints.compatibility import Description
from vocseg.inference import exported
from vocseg.inference.exported import ExportedNetwork
from vocseg.utils.regular_file import read_regular

_DOMAINS = {"", "ai.onnx"}  # of ONNX itself: no operator of another domain is run
# Fields of an attribute without sub-graphs, sparse tensors and references.
_PLAIN = {"name", "type", "f", "i", "s", "t", "floats", "ints", "strings", "doc_string"}


def read(path: Path) -> Description:
    """Read the metadata of a file that `export` wrote, without running anything in it.

    Raises:
        UserError: If it is not such a file, has custom operators, functions or sub-graphs, or refers to other
            files.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Description, bytes]:
    """The metadata and the content of a checked file."""
    model = exported.import_optional("onnx", f"--ckpt_path {path}").ModelProto()
    try:
        content = read_regular(path, exported.MOST_BYTES)[0]
        model.ParseFromString(content)
    except Exception as error:  # OSError, or protobuf's DecodeError, whose module depends on the build
        raise exported.damaged(path, "an ONNX file") from error
    if not model.graph.node or not model.opset_import:
        raise exported.damaged(path, "an ONNX file")
    for what in _foreign_parts(model):
        raise exported.unexpected(path, what)
    texts = [entry.value for entry in model.metadata_props if entry.key == exported.KEY]
    return exported.parsed_description(path, texts[0] if texts else ""), content


def _foreign_parts(model: Any) -> Iterator[str]:
    """Parts that may run code or read other files."""
    domains = {each.domain for each in model.opset_import} | {node.domain for node in model.graph.node}
    yield from (f"operators of the domain '{name}'" for name in sorted(domains - _DOMAINS))
    if model.functions:
        yield "functions"
    if model.graph.sparse_initializer:
        yield "sparse constants"
    constants = [*model.graph.initializer]
    for node in model.graph.node:
        for attribute in node.attribute:
            if {field.name for field, _ in attribute.ListFields()} - _PLAIN:
                yield f"a sub-graph or sparse constant in '{node.name}'"
            constants.append(attribute.t)
    if any(each.external_data or each.data_location for each in constants):
        yield "data in another file"


def load(path: Path, threads: int | None = None) -> ExportedNetwork:
    """Load a file for inference on the CPU.

    Args:
        path: The file.
        threads: Number of threads. None: all cores.

    Raises:
        UserError: As `read`, and if onnxruntime cannot load it.
    """
    description, content = _read(path)
    onnxruntime = exported.import_optional("onnxruntime", f"--ckpt_path {path}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings about its own optimisations
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    # Threads that spin between two images take the cores of those that decode and write.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each fault
        raise exported.unusable(path, "loaded", error) from error

    def run(pixels: Any) -> dict[str, Any]:
        names = list(network.settings.outputs)
        return dict(zip(names, session.run(names, {exported.INPUT: pixels}), strict=True))

    network = ExportedNetwork(run, description, path)
    return network
