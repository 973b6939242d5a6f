"""Export of weights to a file that was compared with PyTorch."""

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vocseg.checkpoints.compatibility import Description
from vocseg.deploy.convert import SUFFIXES, ExportFormat, write_exported
from vocseg.deploy.images import CheckImages
from vocseg.deploy.parity import Parity, check_parity
from vocseg.errors import UserError
from vocseg.inference.backends import load_trained
from vocseg.inference.exported import ExportedNetwork, ExportSettings
from vocseg.models.network import Network
from vocseg.utils.atomic_write import UnwritableError
from vocseg.utils.json_values import as_json


@dataclass(frozen=True)
class Source:
    """Network to export.

    Attributes:
        network: The network, in eval mode.
        description: Description of its weights.
        images: Images to compare on.
    """

    network: Network
    description: Description
    images: CheckImages


def exported_network(path: Path) -> ExportedNetwork:
    """Load a file that `export` has just written."""
    network = load_trained(path).network
    assert isinstance(network, ExportedNetwork)
    return network


def export_float(source: Source, path: Path, kind: ExportFormat, settings: ExportSettings) -> Parity:
    """Write a file in float32 and compare it with PyTorch. Nothing is left if they differ.

    Raises:
        UserError: If they differ, the file cannot be written, or a package is missing.
    """
    with staged(path) as part:
        write_exported(part, kind, source.network, source.description, settings)
        parity = check_parity(source.network, exported_network(part), source.images, path)
        write_record(part, {"format": kind, "precision": "float32", "parity": parity.as_dict()})
    return parity


def record_path(path: Path) -> Path:
    """Return the JSON file of the comparison beside an exported file."""
    return path.with_name(f"{path.name}.json")


def write_record(part: Path, content: dict[str, object]) -> None:
    """Write the result of the comparison beside an exported file."""
    record_path(part).write_text(as_json({"file": part.name, **content}) + "\n")


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


def usage(path: Path, kind: ExportFormat, settings: ExportSettings) -> str:
    """Return three lines of Python that use a file."""
    size = "H,W" if settings.output == "mask" else f"{settings.size},{settings.size}"
    name = settings.outputs[0]
    call = {
        "onnx": (
            f'import onnxruntime\nsession = onnxruntime.InferenceSession("{path}")\n'
            f'{name} = session.run(["{name}"], {{"image": image}})[0]'
        ),
        "openvino": (
            f'import openvino\nmodel = openvino.compile_model("{path}", "CPU")\n'
            f'{name} = model(image)["{name}"]'
        ),
        "torch_export": (
            f'import torch\nmodel = torch.export.load("{path}").module()\n'
            f"{name} = model(torch.from_numpy(image)){'[0]' if settings.output == 'mask' else ''}"
        ),
    }[kind]
    batch = "N" if settings.dynamic_batch else "1"
    lines = "\n".join(f"    {line}" for line in call.splitlines())
    return f"{lines}\n\nimage: RGB uint8 [{batch},3,{size}], as it is: normalisation is inside"


def next_commands(path: Path, data_root: Path | None) -> str:
    """Return the commands to run next."""
    file = shlex.quote(str(path))
    root = f" --data.root {shlex.quote(str(data_root))}" if data_root else ""
    return (
        f"next     python -m vocseg test --ckpt_path {file}{root}\n"
        f"         python -m vocseg predict --ckpt_path {file} --data.predict_dir FOLDER"
    )


def default_path(ckpt_path: Path, kind: ExportFormat, int8: bool) -> Path:
    """Return the file beside the weights."""
    return ckpt_path.with_name(f"{ckpt_path.stem}{'_int8' if int8 else ''}{SUFFIXES[kind]}")
