"""Networks in smp's format: a folder or a repository of the Hugging Face hub."""

import re
import tempfile
from collections.abc import Iterable
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
    folder = _download(str(source)) if is_repository(source) else Path(source)
    path = folder / TENSORS
    try:
        description = read_json(folder / DESCRIPTION, _JSON_BYTES)
        state = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{source}: is no folder or repository of `python -m vocseg push`, or is damaged "
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


def _download(repository: str) -> Path:
    """Fetch the files of a repository into the hub's cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=[TENSORS, DESCRIPTION]))
    except Exception as error:  # the hub's client raises errors of its own, of httpx, and OSError
        raise _hub_error(repository, error) from error


def upload(folder: Path, repository: str, private: bool, replaced: Iterable[str]) -> str:
    """Write the files of a folder into a repository, created if it is missing, and return its address.

    `replaced`: names of files that are deleted there unless they are in the folder.

    Raises:
        UserError: If the hub refuses.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        address = str(api.create_repo(repository, private=private, exist_ok=True))
        patterns = sorted(replaced)
        api.upload_folder(repo_id=repository, folder_path=folder, delete_patterns=patterns)
    except Exception as error:  # the hub's client raises errors of its own, of httpx, and OSError
        raise _hub_error(repository, error) from error
    return address


def _hub_error(repository: str, error: Exception) -> UserError:
    """Return the error of a request to the hub."""
    reason = shown(" ".join(str(error).split()) or type(error).__name__, 160)
    return UserError(
        f"{repository}: the hub cannot be used ({type(error).__name__}: {reason}). Check the name, the "
        f"connection and `hf auth whoami`. A folder of that name is ./{repository}."
    )
