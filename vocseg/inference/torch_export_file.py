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
from vocseg.errors import UserError, shown
from vocseg.inference.exported import (
    KEY,
    MOST_BYTES,
    ExportedNetwork,
    ExportSettings,
    exported_settings,
    unreadable,
)
from vocseg.utils.regular_file import local_file

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
    r"[^/]+/(models/model\.json|data/weights/(model_weights_config\.json|weight_\d+)|extra/vocseg"
    r"|data/constants/(model_constants_config\.json|tensor_\d+)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id))"
)


def read_torch_export(path: Path) -> tuple[Description, ExportSettings]:
    """Read the metadata of a file that `export` wrote, and check everything else in it.

    Raises:
        UserError: If it is no such file, or contains objects, expressions or functions of another kind.
    """
    file = local_file(path, "--ckpt_path")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            foreign = [each.filename for each in entries if not _RECORD.fullmatch(each.filename)]
            stored = all(each.compress_type == zipfile.ZIP_STORED for each in entries)
            if foreign or not stored or sum(each.file_size for each in entries) > MOST_BYTES:
                name = shown(foreign[0], 60) if foreign else "too much data"
                raise _unexpected(path, f"'{name}'")
            if len({each.filename for each in entries}) < len(entries):
                raise _unexpected(path, "a file twice")
            if archive.testzip() is not None:
                raise UserError(f"--ckpt_path {path}: is damaged. Copy it again or use another.")
            content = {each.filename.partition("/")[2]: archive.read(each) for each in entries}
        values = {name: json.loads(text) for name, text in content.items() if name.endswith(".json")}
        for value in values.values():
            _check(path, value)
        torch.load(io.BytesIO(content["data/sample_inputs/model.pt"]), weights_only=True)
        description = json.loads(content.get(f"extra/{KEY}", b"null"))
    except UserError:
        raise
    except Exception as error:  # zipfile, json and torch raise nearly anything on foreign bytes
        raise UserError(
            f"--ckpt_path {path}: is not a file of torch.export, or is damaged. Use another."
        ) from error
    return exported_settings(path, description)


def _check(path: Path, value: Any) -> None:
    """Check all entries of a JSON value that make torch.export.load run something."""
    for key, entry in _entries(value):
        if key == "use_pickle" and entry is not False:
            raise _unexpected(path, "a pickle")
        if key == "target" and isinstance(entry, str) and not _FUNCTION.fullmatch(entry):
            raise _unexpected(path, f"the function '{shown(entry, 40)}'")
        if key in ("expr_str", "as_expr") and isinstance(entry, str) and not _EXPRESSION.fullmatch(entry):
            raise _unexpected(path, f"the expression '{shown(entry, 40)}'")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(entry)):
            raise _unexpected(path, f"the file '{shown(str(entry), 40)}'")
        if key in ("as_graph", "as_operator", "as_custom_obj") or (key == "custom_obj_values" and entry):
            raise _unexpected(path, f"an entry '{key}'")
        if key in ("in_spec", "out_spec") and entry is not None:
            kinds = [each for name, each in _entries(json.loads(entry)) if name == "type"]
            if any(isinstance(kind, dict | list) or kind not in _TYPES for kind in kinds):
                raise _unexpected(path, "inputs or outputs of another type")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            yield from each.items()
            todo += each.values()
        elif isinstance(each, list):
            todo += each


def _unexpected(path: Path, what: str) -> UserError:
    return UserError(f"--ckpt_path {path}: contains {what}, which `export` never writes. It is not loaded.")


def load_torch_export(path: Path) -> tuple[ExportedNetwork, Description]:
    """Load a file of torch.export for inference on the CPU, with torch's number of threads.

    Raises:
        UserError: As `read_torch_export`, and if torch cannot load it.
    """
    description, settings = read_torch_export(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            module = torch.export.load(path).module()
    except Exception as error:  # torch raises nearly anything
        raise unreadable(path, error) from error

    def run(pixels: Any) -> dict[str, Any]:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        arrays = (each.numpy() for each in (found if isinstance(found, tuple) else (found,)))
        return dict(zip(settings.outputs, arrays, strict=True))

    return ExportedNetwork(run, settings, len(description["classes"]), path), description
