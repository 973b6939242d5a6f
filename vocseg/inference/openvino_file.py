"""OpenVINO IR files: checks, metadata, inference."""

import re
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from vocseg.checkpoints.compatibility import Description
from vocseg.errors import UserError
from vocseg.inference import exported
from vocseg.inference.exported import ExportedNetwork
from vocseg.utils.regular_file import read_regular
from vocseg.utils.streams import usable_cores

_MOST_XML = 64 << 20  # bytes; a network has less than one
_BODIES = {"body", "then_body", "else_body", "body_net"}


def read(path: Path) -> Description:
    """Read the metadata of an IR file that `export` wrote, and check its layers.

    Raises:
        UserError: If it is not such a file, has custom operators or sub-graphs, or its `.bin` is missing or
            too small.
    """
    try:
        text = read_regular(path, _MOST_XML)[0]
        if re.search(rb"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise exported.unexpected(path, "XML entities")
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: the encoding
        raise exported.damaged(path, "an OpenVINO IR file") from error
    layers = root.findall("layers/layer")
    if root.tag != "net" or not layers:
        raise exported.damaged(path, "an OpenVINO IR file")
    for what in _foreign_layers(layers):
        raise exported.unexpected(path, what)
    file = path.with_suffix(".bin")
    size = file.stat().st_size if file.is_file() and not file.is_symlink() else None
    if size is None:
        raise UserError(f"--ckpt_path {path}: {file.name} is not beside it. Copy both files into one folder.")
    if size > exported.MOST_BYTES or not all(_is_inside(layer, size) for layer in layers):
        raise UserError(f"--ckpt_path {path}: {file.name} is damaged or of another file. Copy both again.")
    entry = root.find(f"rt_info/{exported.KEY}")
    return exported.parsed_description(path, "" if entry is None else entry.get("value", ""))


def _foreign_layers(layers: list[ElementTree.Element]) -> Iterator[str]:
    """Custom operators and operators with sub-graphs."""
    for layer in layers:
        version = layer.get("version", "")
        if not re.fullmatch(r"opset\d{1,2}", version) or _BODIES & {child.tag for child in layer}:
            yield f"the operator '{layer.get('type', '')[:40]}' of '{version[:40]}'"


def _is_inside(layer: ElementTree.Element, size: int) -> bool:
    """Whether the data of a constant is in the `.bin`, of `size` bytes."""
    data = layer.find("data")
    if data is None or layer.get("type") != "Const":
        return True
    numbers = [data.get(name, "0") for name in ("offset", "size")]
    return all(re.fullmatch(r"\d{1,12}", each) for each in numbers) and sum(map(int, numbers)) <= size


def load(path: Path, threads: int | None = None) -> ExportedNetwork:
    """Load an IR file for inference on the CPU.

    Args:
        path: The `.xml`, with its `.bin` beside it.
        threads: Number of threads of an image. None: all cores, or one core if torch has one thread, as in
            the threads of `Streams`.

    Raises:
        UserError: As `read`, and if OpenVINO cannot load it.
    """
    description = read(path)
    core = _one_core(exported.import_optional("openvino", f"--ckpt_path {path}").Core)

    def hint() -> str:
        return "THROUGHPUT" if threads is None and torch.get_num_threads() == 1 else "LATENCY"

    @cache
    def compiled(hint: str) -> Any:
        options: dict[str, Any] = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        if hint == "THROUGHPUT":  # by itself OpenVINO gives an image several threads
            options |= {"INFERENCE_NUM_THREADS": usable_cores(), "NUM_STREAMS": usable_cores()}
        return core.compile_model(core.read_model(str(path)), "CPU", options)

    try:
        compiled(hint())
    except Exception as error:  # OpenVINO raises RuntimeError and its own
        raise exported.unusable(path, "loaded", error) from error
    own = threading.local()  # a request serves one thread

    def run(pixels: Any) -> dict[str, Any]:
        requests, kind = vars(own), hint()
        if kind not in requests:
            requests[kind] = compiled(kind).create_infer_request()
        found = requests[kind].infer({exported.INPUT: pixels})
        return {name: found[name].copy() for name in network.settings.outputs}

    network = ExportedNetwork(run, description, path)
    return network


@cache
def _one_core(kind: Any) -> Any:
    """OpenVINO's core, one for the whole process.

    A core installs a stack for signal handlers and frees it with itself. If another core was made after it,
    that one restores the freed stack at its own end, and the next signal (Ctrl-C) is a segmentation fault.
    """
    return kind()
