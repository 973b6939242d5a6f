"""Translation of third-party exceptions to user errors."""

import os
import re
import traceback
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from vocseg.checkpoints.run_dir import LOGS, missing_run_dir
from vocseg.errors import UserError, shown

_WORKERS = (
    "Check the free memory, use fewer with --data.num_workers, or read in the main process with "
    "--data.num_workers 0"
)
_LOST = ("gloo/transport", "Connection closed by peer", "NCCL communicator was aborted", "Watchdog caught")


def to_user_error(error: BaseException, trainer: Any = None) -> UserError | None:
    """Translate an exception that is caused by input or by the machine.

    Args:
        error: The exception.
        trainer: Lightning's trainer, if there is one. Messages report its sizes.

    Returns:
        The translation, or None for any other exception, whose traceback should be printed.
    """
    if isinstance(error, UserError):
        return error
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    files, functions = {Path(each.filename).name for each in frames}, {each.name for each in frames}
    if isinstance(error, FileNotFoundError) and (folder := _lost_run_dir(error)):
        return missing_run_dir(folder)
    if _is_out_of_memory(error):
        return UserError(_out_of_memory(error, text, functions, trainer))
    if isinstance(error, ValueError) and "more than 1 value per channel" in text:
        return UserError(
            f"BatchNorm gets a single value per channel from this batch{_batch(trainer)}, and cannot train "
            "on one. Use a larger --data.batch_size."
        )
    if missing := re.search(r"Requirement '([^']+)' not met", text):
        return UserError(f"a flag needs a package that is not installed: pip install '{missing[1]}'")
    if reason := _logger_fault(error, frames):
        return UserError(
            f"--trainer.logger: the logger cannot be used ({shown(reason, 300).rstrip('.')}). Set it up, or "
            "leave the flag out."
        )
    # Lightning checks there whether devices, strategy and precision are compatible.
    invalid_flags = "accelerator_connector.py" in files or "`val_check_interval` (" in text
    if isinstance(error, (ValueError, TypeError)) and invalid_flags:
        return UserError(text)
    if isinstance(error, MisconfigurationException) and (trainer is None or "limit_" in text):
        return UserError(text)
    loading = {"load_model_state_dict", "load_optimizer_state_dict"} & functions
    if isinstance(error, (ValueError, RuntimeError)) and loading:
        return UserError(
            f"the checkpoint does not match the flags ({text[:120].rstrip('.')}). Set the flags of "
            "network and optimizer back. --allow accepts other values, not another structure."
        )
    if is_lost_process(error):
        return UserError("another process of the run has ended or cannot be reached. See its message or log.")
    if isinstance(error, RuntimeError) and ("shared memory" in text or "Bus error" in text):
        return UserError(
            "/dev/shm has no room for the batches of DataLoader workers. Read in the main process with "
            "--data.num_workers 0, use fewer, or enlarge it (in a container: --shm-size 8g)."
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        if cause := _user_error_before(error):
            return cause
        ended = "" if "Killed" in text else "has ended or "  # torch does not always report how
        return UserError(
            f"a DataLoader worker {ended}was killed (the machine may have run out of memory). {_WORKERS}. "
            f"torch reports: {text[:120].rstrip('. ')}"
        )
    if (
        isinstance(error, (ConnectionError, EOFError, FileNotFoundError))
        and "rebuild_storage_fd" in functions
    ):
        return UserError(f"a DataLoader worker has ended or was killed, and its batch is lost. {_WORKERS}.")
    return None


def _logger_fault(error: BaseException, frames: list[traceback.FrameSummary]) -> str | None:
    """Why a logger of the user's cannot be created, or cannot be opened before training; None if it can."""
    opened = any(each.name == "_call_setup_hook" for each in frames)
    if opened and any(Path(each.filename).parent.name == "loggers" for each in frames):
        return str(error)
    head, _, errors = str(error).partition("\nErrors:\n")
    if not isinstance(error, ValueError) or "loggers.logger.Logger" not in head:
        return None
    reasons = [each.strip("- ") for each in errors.partition("\nGiven value type:")[0].split("\n  - ")]
    own = [each for each in reasons if not each.startswith(("Expected a ", "Not a valid subclass"))]
    return " ".join(own[0].split()) if own else None


def is_lost_process(error: BaseException) -> bool:
    """Return whether the cause is that another process of the run has ended."""
    network = isinstance(error, torch.distributed.DistError) if torch.distributed.is_available() else False
    return network or (isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST))


def _lost_run_dir(error: FileNotFoundError) -> Path | None:
    """The run directory of a missing file, if that is missing too."""
    path = Path(os.fsdecode(error.filename or ""))  # bytes from TensorBoard's writer
    folder = next((each for each in (path, *path.parents) if each.name.startswith("version_")), None)
    return folder if folder is not None and LOGS in folder.parts and not folder.exists() else None


def _user_error_before(error: BaseException) -> UserError | None:
    """The error after which DataLoader workers were ended, which torch reports as an error of its own."""
    cause = error.__cause__ or error.__context__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _is_out_of_memory(error: BaseException) -> bool:
    own = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return own or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))


def _out_of_memory(error: BaseException, text: str, functions: set[str], trainer: Any) -> str:
    device = "GPU" if isinstance(error, torch.OutOfMemoryError) else "machine"
    if not (batch := _batch(trainer)):
        return f"the {device} does not have enough memory ({text[:120]}). Use smaller batches or images."
    where = " in validation" if functions & {"validation_step", "test_step"} else ""
    where = " in training" if functions & {"training_step", "backward"} else where
    data = trainer.datamodule
    size = int(data.batch_size)
    if size == 1:
        remedy = f"a smaller --data.image_size than {data.image_size}, or --trainer.precision bf16-mixed"
    else:  # the next smaller batch that divides this one
        parts = next(k for k in range(2, size + 1) if size % k == 0)
        remedy = f"--data.batch_size {size // parts}"
        if getattr(trainer.state.fn, "value", "") == "fit":
            remedy += f" --trainer.accumulate_grad_batches {parts * trainer.accumulate_grad_batches}"
    return f"the {device} does not have enough memory for a batch{batch}{where}. Use {remedy}"


def _batch(trainer: Any) -> str:
    data: Any = getattr(trainer, "datamodule", None)
    if not hasattr(data, "batch_size"):
        return ""
    images = "image" if data.batch_size == 1 else "images"
    return f" of {data.batch_size} {images} at {data.image_size}x{data.image_size}"
