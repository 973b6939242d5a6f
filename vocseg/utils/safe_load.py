"""Loading of tensor files without running code from them."""

import os
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from vocseg.errors import UserError
from vocseg.utils.atomic_write import atomic_open
from vocseg.utils.checksum import DamagedError, append_checksum, verify_zip
from vocseg.utils.file_type import guess_file_type, local_file, zip_seems


def write_tensors(content: object, path: Path) -> None:
    """Write what `torch.load(path, weights_only=True)` reads back, whole or not at all, without a copy of it.

    Args:
        content: Tensors and plain values, in dictionaries and lists.
        path: The file.

    Raises:
        UserError: If it cannot be written, or `content` holds what could not be read back safely.
    """

    def finish(file: IO[bytes]) -> None:
        _check_readable(Path(file.name), path)
        verify_zip(Path(file.name))
        append_checksum(file)
        os.fsync(file.fileno())

    with atomic_open(path, finish, needed=_bytes_of(content)) as file:
        torch.save(content, file)


def read_tensors(path: str | Path, flag: str = "--ckpt_path", mapped: bool = False) -> Any:
    """Read a file that torch wrote, every byte of it checked, and no code in it run.

    Args:
        path: The file.
        flag: Which option named it.
        mapped: Leave the tensors in the file until they are used.

    Raises:
        UserError: If it is missing, damaged, something else, or holds more than tensors and plain values.
    """
    path = local_file(path, flag, ", such as last.ckpt or unet_voc.pth")
    unreadable = f"{flag} {path}: not a readable file of weights"
    try:
        what = guess_file_type(path)
        zipped = what is None and _is_zip(path)
        if zipped:
            what = zip_seems(verify_zip(path))
        if what:
            raise UserError(f"{unreadable}: it is {what}")
        # Said outright, since a variable in the environment could turn the default into the opposite.
        with warnings.catch_warnings(action="ignore"):  # an odd pickle is refused, or it is read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipped)
    except DamagedError as fault:
        raise UserError(f"{unreadable}: it is damaged, as {fault}; copy it anew or take another") from fault
    except UserError:
        raise
    except pickle.UnpicklingError as fault:
        raise UserError(
            f"{unreadable}: it is damaged, or holds objects or code beside tensors and plain values, "
            "which are never loaded; save its state_dict() alone"
        ) from fault
    except Exception as fault:  # torch raises anything from KeyError to RuntimeError on foreign bytes
        raise UserError(f"{unreadable} ({type(fault).__name__}): name another") from fault


class SafeCheckpointMixin:
    """Lets Lightning's `load_from_checkpoint` read local files alone, checked, without running any code."""

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As Lightning's.

        Args:
            checkpoint_path: A local `.ckpt`.
            map_location: See `torch.load`.
            hparams_file: Must be None: the checkpoint has all that is needed.
            strict: See Lightning.
            weights_only: Of no effect: it is always done.
            kwargs: See Lightning.

        Raises:
            UserError: As `read_tensors`.
        """
        if hparams_file is not None:
            raise UserError(f"hparams_file {hparams_file}: leave it out, the checkpoint has what it needs")
        content = read_tensors(checkpoint_path, "checkpoint_path", mapped=True)
        if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
            raise UserError(f"checkpoint_path {checkpoint_path}: is no checkpoint of Lightning; name a .ckpt")
        if any(
            "_instantiator" in (content.get(key) or {})
            for key in ("hyper_parameters", "datamodule_hyper_parameters")
        ):
            raise UserError(f"checkpoint_path {checkpoint_path}: names code to be run; it is not loaded")
        parent: Any = super()
        if strict is not None:  # a data module has no parameters, and does not know the word
            kwargs["strict"] = strict
        return parent.load_from_checkpoint(checkpoint_path, map_location, weights_only=True, **kwargs)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"P"


def _check_readable(written: Path, path: Path) -> None:
    """Whether what was written can be read back safely: a checkpoint that cannot be is none."""
    try:
        torch.load(written, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as fault:
        what = next(
            (line.strip() for line in str(fault).splitlines() if "Unsupported" in line), str(fault)[:200]
        )
        raise UserError(
            f"{path} was not written, as it could not be read back safely ({what}): let callbacks keep "
            "tensors and plain values alone in their state"
        ) from fault


def _bytes_of(content: object) -> int:
    """Bytes of all tensors, each once, and a little for the rest."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(content)
    }
    return sum(storages.values()) + (1 << 14)


def _tensors(content: object) -> Iterable[Tensor]:
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping | list | tuple):
        for each in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(each)
