"""OpenVINO IR files: checks, metadata, inference."""

import json
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

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
from vocseg.utils.streams import usable_cores

_MOST_XML = 64 << 20  # bytes; a network has less than one
_BODIES = {"body", "then_body", "else_body", "body_net"}


def read_openvino(path: Path) -> tuple[Description, ExportSettings]:
    """Read the metadata of an IR file that `export` wrote, and check its layers.

    Raises:
        UserError: If it is no such file, has custom operators or sub-graphs, or its `.bin` is missing or too
            small.
    """
    what = f"--ckpt_path {path}"
    try:
        text = read_regular(path, _MOST_XML)[0]
        if re.search(rb"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise UserError(f"{what}: has XML entities, which `export` never writes. It is not loaded.")
        root = ElementTree.fromstring(text)
    except OSError as error:
        raise UserError(f"{what}: cannot be read ({error.strerror}). Use another.") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise UserError(f"{what}: is not an OpenVINO IR file, or is damaged. Use another.") from error
    layers = root.findall("layers/layer")
    if root.tag != "net" or not layers:
        raise UserError(f"{what}: is not an OpenVINO IR file, or is damaged. Use another.")
    _check_layers(path, layers, _weights_size(path))
    entry = root.find(f"rt_info/{KEY}")
    try:
        content = json.loads("" if entry is None else entry.get("value", ""))
    except (ValueError, RecursionError):
        content = None
    return exported_settings(path, content)


def _weights_size(path: Path) -> int:
    """Size of the `.bin` in bytes."""
    file = path.with_suffix(".bin")
    if not file.is_file() or file.is_symlink():
        raise UserError(f"--ckpt_path {path}: {file.name} is not beside it. Copy both files into one folder.")
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"--ckpt_path {path}: {file.name} is larger than {MOST_BYTES >> 30} GiB.")
    return size


def _check_layers(path: Path, layers: list[ElementTree.Element], size: int) -> None:
    for layer in layers:
        kind, version = layer.get("type", ""), layer.get("version", "")
        if not re.fullmatch(r"opset\d{1,2}", version) or _BODIES & {child.tag for child in layer}:
            raise UserError(
                f"--ckpt_path {path}: has the operator '{shown(kind, 40)}' of '{shown(version, 40)}', which "
                "`export` never writes. It is not loaded."
            )
        data = layer.find("data")
        if kind == "Const" and data is not None:
            try:
                start, length = int(data.get("offset", 0)), int(data.get("size", 0))
            except ValueError:
                start = length = -1
            if start < 0 or length < 0 or start + length > size:
                raise UserError(
                    f"--ckpt_path {path}: its .bin is damaged or of another file. Copy both again."
                )


def load_openvino(path: Path, threads: int | None = None) -> tuple[ExportedNetwork, Description]:
    """Load an IR file for inference on the CPU.

    Args:
        path: The `.xml`, with its `.bin` beside it.
        threads: Number of threads of an image. None: all cores, or one core if torch has one thread, as in
            the threads of `Streams`.

    Raises:
        UserError: As `read_openvino`, and if OpenVINO cannot load it.
    """
    description, settings = read_openvino(path)
    try:
        from openvino import Core
    except ImportError as error:
        raise missing("openvino", f"--ckpt_path {path}") from error
    core = _one_core(Core)

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
        for name in settings.outputs:
            compiled(hint()).output(name)
    except Exception as error:  # OpenVINO raises RuntimeError and its own
        raise unreadable(path, error) from error
    own = threading.local()  # a request serves one thread

    def run(pixels: Any) -> dict[str, Any]:
        requests, kind = vars(own), hint()
        if kind not in requests:
            requests[kind] = compiled(kind).create_infer_request()
        found = requests[kind].infer({INPUT: pixels})
        return {name: found[name].copy() for name in settings.outputs}

    return ExportedNetwork(run, settings, len(description["classes"]), path), description


@cache
def _one_core(kind: Any) -> Any:
    """OpenVINO's core, one for the whole process.

    A core installs a stack for signal handlers and frees it with itself. If another core was made after it,
    that one restores the freed stack at its own end, and the next signal (Ctrl-C) is a segmentation fault.
    """
    return kind()
