"""Networks in smp's format: a folder or a repository of the Hugging Face hub."""

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from vocseg.checkpoints.weights import Weights, described, rebuilt
from vocseg.errors import UserError, shown
from vocseg.inference.backends import TrainedNetwork
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.regular_file import as_json, read_json

CONFIG, TENSORS, DESCRIPTION = "config.json", "model.safetensors", "vocseg.json"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_FILES = (".pth", ".pt", ".ckpt", ".onnx", ".xml", ".pt2")  # endings of files, which no repository has here
_JSON_BYTES = 1 << 20


def is_repository(name: str | Path) -> bool:
    """Return whether a name is `user/name` of the hub, and not an existing path or a file's name."""
    text = str(name)
    return bool(_REPOSITORY.fullmatch(text)) and not text.endswith(_FILES) and not Path(name).exists()


def load_pretrained(source: str | Path) -> TrainedNetwork:
    """Load a network from a folder that `push` wrote, or from a repository of the hub.

    Only tensors and a description are read. No code is run, and smp's `config.json` is not used.

    Raises:
        UserError: If a file is missing, damaged or of another program, or the hub cannot be reached.
    """
    folder = Path(source)
    if is_repository(source):
        from huggingface_hub import snapshot_download

        with _hub_errors(str(source)):
            folder = Path(snapshot_download(str(source), allow_patterns=[TENSORS, DESCRIPTION]))
    path = folder / TENSORS
    try:
        description = read_json(folder / DESCRIPTION, _JSON_BYTES)
        state = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{source}: is not a folder or repository of `python -m vocseg push`, or is damaged "
            f"({shown(str(error), 160)}). Push or download it again."
        ) from error
    state, checked = described(path, {"state_dict": state, "description": description})
    return TrainedNetwork(rebuilt(Weights(state, checked), path), checked, "pytorch")


def save_pretrained(weights: Weights, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` as smp does, and `vocseg.json`.

    Other files of the folder stay.

    Raises:
        UserError: If the weights do not fit their description, or a file cannot be written.
    """
    import segmentation_models_pytorch as smp

    about = weights.description
    rebuilt(weights, folder / TENSORS)  # validates them
    names = {"encoder_name": about["encoder"], "encoder_weights": None, "classes": len(about["classes"])}
    model = smp.create_model(about["arch"], **names)
    model.load_state_dict(weights.state_dict)
    with tempfile.TemporaryDirectory() as made:
        model.save_pretrained(made)
        for name in (TENSORS, CONFIG):
            atomic_write(folder / name, (Path(made) / name).read_bytes())
    atomic_write(folder / DESCRIPTION, as_json(about) + "\n")


def upload(folder: Path, repository: str, private: bool, replaced: Iterable[str]) -> str:
    """Write the files of a folder into a repository, created if it is missing, and return its address.

    Files named in `replaced` are deleted there unless they are in the folder.
    """
    from huggingface_hub import HfApi

    with _hub_errors(repository):
        api = HfApi()
        address = str(api.create_repo(repository, private=private, exist_ok=True))
        api.upload_folder(repo_id=repository, folder_path=folder, delete_patterns=sorted(replaced))
    return address


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's client raises errors of its own, of httpx, and OSError
        reason = shown(" ".join(str(error).split()), 160)
        raise UserError(
            f"{repository}: the hub cannot be used ({type(error).__name__}: {reason}). Check the name, the "
            f"connection and `hf auth whoami`. A folder of that name is ./{repository}."
        ) from error
