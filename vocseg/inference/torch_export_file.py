"""Files of torch.export: checks, metadata, inference."""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vocseg.checkpoints.compatibility import Description
from vocseg.errors import UserError
from vocseg.inference import exported
from vocseg.inference.exported import ExportedNetwork

# torch.export.load unpickles, evaluates expressions and looks up functions by name: only what `export` writes
# passes.
_FUNCTION = re.compile(  # aten's from_file opens any file
    r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|getitem|[lg][te]|eq|ne)"
)
_EXPRESSION = re.compile(
    r"((Integer|Symbol|Mul|Add|Max|Min|Mod|FloorDiv|CeilDiv)(?=\()|'s\d{1,9}'|(positive|integer)=True"
    r"|\d{1,9}|[-(), ])*"
)
_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}  # of inputs and outputs
_RECORD = re.compile(
    r"(models/model\.json|data/weights/(model_weights_config\.json|weight_\d+)|extra/vocseg"
    r"|data/constants/(model_constants_config\.json|tensor_\d+)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id))"
)


def read(path: Path) -> Description:
    """Read the metadata of a file that `export` wrote, and check everything else in it.

    Raises:
        UserError: If it is not such a file, or contains objects, expressions or functions of another kind.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(each.compress_type != zipfile.ZIP_STORED for each in entries):
                raise exported.unexpected(path, "compressed data")
            if sum(each.file_size for each in entries) > exported.MOST_BYTES:
                raise exported.unexpected(path, "too much data")
            content = {each.filename.partition("/")[2]: archive.read(each) for each in entries}
        foreign = [name for name in content if not _RECORD.fullmatch(name)]
        if foreign or len(content) < len(entries):
            raise exported.unexpected(path, f"'{foreign[0][:60]}'" if foreign else "a file twice")
        for name, text in content.items():
            for what in _foreign_entries(json.loads(text)) if name.endswith(".json") else ():
                raise exported.unexpected(path, what)
        torch.load(io.BytesIO(content["data/sample_inputs/model.pt"]), weights_only=True)
    except UserError:
        raise
    except Exception as error:  # zipfile, json and torch raise nearly anything on foreign bytes
        raise exported.damaged(path, "a file of torch.export") from error
    return exported.parsed_description(path, content.get(f"extra/{exported.KEY}", b""))


def _foreign_entries(value: Any) -> Iterator[str]:
    """Entries of a JSON value that make torch.export.load run something that `export` does not write."""
    for key, entry in _entries(value):
        if key == "use_pickle" and entry is not False:
            yield "a pickle"
        if key == "target" and isinstance(entry, str) and not _FUNCTION.fullmatch(entry):
            yield f"the function '{entry[:40]}'"
        if key in ("expr_str", "as_expr") and isinstance(entry, str) and not _EXPRESSION.fullmatch(entry):
            yield f"the expression '{entry[:40]}'"
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(entry)):
            yield f"the file '{str(entry)[:40]}'"
        if key in ("as_graph", "as_operator", "as_custom_obj") or (key == "custom_obj_values" and entry):
            yield f"an entry '{key}'"
        if key in ("in_spec", "out_spec") and entry is not None:
            kinds = [each for name, each in _entries(json.loads(entry)) if name == "type"]
            if any(isinstance(kind, dict | list) or kind not in _TYPES for kind in kinds):
                yield "inputs or outputs of another type"


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            yield from each.items()
            todo += each.values()
        elif isinstance(each, list):
            todo += each


def load(path: Path, threads: int | None = None) -> ExportedNetwork:
    """Load a file for inference on the CPU, with torch's number of threads (`threads` is not used).

    Raises:
        UserError: As `read`, and if torch cannot load it.
    """
    description = read(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            module = torch.export.load(path).module()
    except Exception as error:  # torch raises nearly anything
        raise exported.unusable(path, "loaded", error) from error

    def run(pixels: Any) -> dict[str, Any]:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        arrays = (each.numpy() for each in (found if isinstance(found, tuple) else (found,)))
        return dict(zip(network.settings.outputs, arrays, strict=True))

    network = ExportedNetwork(run, description, path)
    return network
