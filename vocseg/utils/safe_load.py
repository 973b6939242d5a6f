"""Loading and writing of tensor files without running code from them."""

import os
import pickle
import warnings
from pathlib import Path
from typing import IO, Any

import torch

from vocseg.errors import UserError
from vocseg.utils.atomic_write import atomic_open
from vocseg.utils.checksum import DamagedError, append_checksum, verify_zip
from vocseg.utils.regular_file import local_file


def write_tensors(content: object, path: Path) -> None:
    """Write a file for `torch.load(path, weights_only=True)` atomically, with a checksum.

    Args:
        content: Tensors and plain values, in dictionaries and lists.
        path: The file.

    Raises:
        UserError: If it cannot be written, or could not be read back safely.
    """

    def finish(file: IO[bytes]) -> None:
        _check_readable(Path(file.name), path)
        append_checksum(file)
        os.fsync(file.fileno())

    with atomic_open(path, finish) as file:
        torch.save(content, file)


def read_tensors(path: str | Path, flag: str = "--ckpt_path", mapped: bool = False) -> Any:
    """Read a file written by torch. Every byte is checked, and no code in it is run.

    Args:
        path: The file.
        flag: Flag that gave the path, for error messages.
        mapped: Memory-map the tensors.

    Raises:
        UserError: If it is missing, damaged, of another type, or contains more than tensors and plain values.
    """
    path = local_file(path, flag, ", such as last.ckpt or unet_voc.pth")
    unreadable = f"{flag} {path}: not a readable file of weights"
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if not start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80")):
            raise UserError(
                f"{unreadable}: it is not a file that torch writes, perhaps a web page of a failed download. "
                "Copy it again or use another."
            )
        if zipped := start.startswith(b"P"):
            verify_zip(path)
        # weights_only is explicit, as an environment variable can change the default.
        with warnings.catch_warnings(action="ignore"):  # unusual pickles are either rejected or read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipped)
    except DamagedError as error:
        raise UserError(f"{unreadable}: it is damaged, as {error}. Copy it again or use another.") from error
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{unreadable}: it is damaged, or contains objects or code besides tensors and plain values, "
            "which are never loaded. Save its state_dict() alone."
        ) from error
    except Exception as error:  # torch raises anything from KeyError to RuntimeError on foreign bytes
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{unreadable} ({type(error).__name__}: {reason}). Use another.") from error


class SafeCheckpointMixin:
    """Makes `load_from_checkpoint` read only local files, verify them and run no code from them."""

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: str | Path, map_location: Any = None, **kwargs: Any
    ) -> Any:
        """Load a model or data module from a checkpoint.

        Args:
            checkpoint_path: A local `.ckpt`.
            map_location: See `torch.load`.
            kwargs: See Lightning. `weights_only` is always on.

        Raises:
            UserError: As `read_tensors`.
        """
        content = read_tensors(checkpoint_path, "checkpoint_path", mapped=True)
        if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
            raise UserError(
                f"checkpoint_path {checkpoint_path}: is not a Lightning checkpoint. Give a .ckpt."
            )
        if any(
            "_instantiator" in (content.get(key) or {})
            for key in ("hyper_parameters", "datamodule_hyper_parameters")
        ):
            raise UserError(
                f"checkpoint_path {checkpoint_path}: contains a function to call. It is not loaded."
            )
        parent: Any = super()
        if kwargs.get("strict", ...) is None:  # data modules do not accept it
            del kwargs["strict"]
        return parent.load_from_checkpoint(checkpoint_path, map_location, **{**kwargs, "weights_only": True})


def _check_readable(written: Path, path: Path) -> None:
    try:
        torch.load(written, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        lines = (line.strip() for line in str(error).splitlines() if "Unsupported" in line)
        raise UserError(
            f"{path} was not written: it could not be read back safely ({next(lines, str(error)[:200])}). "
            "Keep only tensors and plain values in the state of callbacks."
        ) from error
