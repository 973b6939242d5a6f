"""Translation of third-party exceptions to user errors."""

import contextlib
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from traceback import FrameSummary
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from vocseg.checkpoints.resume import RunDirectory
from vocseg.checkpoints.run_dir import LOGS, missing_run_dir
from vocseg.errors import Interrupted, UserError, shown
from vocseg.utils.signals import SIGNAL_GUARD

_LOST = ("gloo/transport", "Connection closed by peer", "NCCL communicator was aborted", "Watchdog caught")


@contextlib.contextmanager
def raise_user_errors(cli: Any, verb: str) -> Iterator[None]:
    """Raise exceptions of a verb as those that `main` prints, and release its run directory at the end."""
    run_directory: RunDirectory = cli.run_directory
    try:
        with SIGNAL_GUARD.claiming():
            yield
    except Exception as error:
        user_error = to_user_error(error, getattr(cli, "trainer", None))
        if user_error is None:
            raise
        run_directory.drop_unused()
        if user_error is error:
            raise
        raise user_error from error
    except Interrupted as stop:
        trained = hasattr(cli, "trainer") and cli.trainer.global_step > 0
        raise run_directory.stopped(stop, verb, trained) from stop
    finally:
        run_directory.release()


def to_user_error(error: BaseException, trainer: Any = None) -> UserError | None:
    """Translate an exception that is caused by input or by the machine.

    Returns:
        The translation, or None for any other exception, whose traceback should be printed.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, FileNotFoundError) and (folder := _lost_run_dir(error)):
        return missing_run_dir(folder)
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    message = (
        _memory_message(error, text, trainer)
        or _flag_message(error, text, frames, trainer)
        or _logger_message(error, frames)
        or _process_message(error, text, frames)
    )
    return UserError(message) if message else None


def _memory_message(error: BaseException, text: str, trainer: Any) -> str | None:
    """Message for a lack of memory."""
    if isinstance(error, RuntimeError) and ("shared memory" in text or "Bus error" in text):
        return (
            "/dev/shm has no room for the batches of DataLoader workers. Read in the main process with "
            "--data.num_workers 0, use fewer, or enlarge it (in a container: --shm-size 8g)."
        )
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text
    if not (on_gpu or on_cpu or isinstance(error, MemoryError)):
        return None
    lacks = f"the {'GPU' if on_gpu else 'machine'} does not have enough memory"
    if not (batch := _batch(trainer)):
        return f"{lacks} ({text[:120]}). Use smaller batches or images."
    return f"{lacks} for a batch{batch}. Use {_less_memory(trainer)}"


def _less_memory(trainer: Any) -> str:
    """Flags for a smaller batch, with which the gradients are of as many images as before."""
    data = trainer.datamodule
    size = int(data.batch_size)
    if size == 1:
        return f"a smaller --data.image_size than {data.image_size}, or --trainer.precision bf16-mixed"
    parts = next(k for k in range(2, size + 1) if size % k == 0)  # the next smaller batch divides this one
    flags = f"--data.batch_size {size // parts}"
    if getattr(trainer.state.fn, "value", "") == "fit":
        flags += f" --trainer.accumulate_grad_batches {parts * trainer.accumulate_grad_batches}"
    return flags


def _batch(trainer: Any) -> str:
    data: Any = getattr(trainer, "datamodule", None)
    if not hasattr(data, "batch_size"):
        return ""
    return f" of {data.batch_size} images at {data.image_size}x{data.image_size}"


def _flag_message(error: BaseException, text: str, frames: list[FrameSummary], trainer: Any) -> str | None:
    """Message for flags that do not fit together, the data or the checkpoint."""
    if isinstance(error, ValueError) and "more than 1 value per channel" in text:
        return (
            f"BatchNorm gets a single value per channel from this batch{_batch(trainer)}, and cannot train "
            "on one. Use a larger --data.batch_size."
        )
    if missing := re.search(r"Requirement '([^']+)' not met", text):
        return f"a flag needs a package that is not installed: pip install '{missing[1]}'"
    building = any(_is_in(frame, "pytorch/trainer/trainer.py", "__init__") for frame in frames)
    limits = "`val_check_interval` (" in text or "limit_" in text
    if isinstance(error, ValueError | TypeError | MisconfigurationException) and (building or limits):
        return text
    loading = any(frame.name in ("load_model_state_dict", "load_optimizer_state_dict") for frame in frames)
    if isinstance(error, ValueError | RuntimeError) and loading:
        return (
            f"the checkpoint does not match the flags ({text[:120].rstrip('.')}). Set the flags of "
            "network and optimizer back. --allow accepts other values, not another structure."
        )
    return None


def _is_in(frame: FrameSummary, file: str, function: str) -> bool:
    return frame.name == function and frame.filename.endswith(file)


def _logger_message(error: BaseException, frames: list[FrameSummary]) -> str | None:
    """Message for a logger of the user's that cannot be created, or cannot be opened before training."""
    opened = any(frame.name == "_call_setup_hook" for frame in frames)
    if opened and any(Path(frame.filename).parent.name == "loggers" for frame in frames):
        reason: object = error
    elif isinstance(error, ValueError) and "loggers.logger.Logger" in str(error):  # of jsonargparse
        reason = error.__cause__  # why the first of the flag's types, a single logger, does not take it
    else:
        return None
    text = shown(" ".join(str(reason).split()), 300).rstrip(".")
    return f"--trainer.logger: the logger cannot be used ({text}). Set it up, or leave the flag out."


def _process_message(error: BaseException, text: str, frames: list[FrameSummary]) -> str | None:
    """Message for a process of the run that has ended."""
    network = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
    if network or (isinstance(error, RuntimeError) and any(words in text for words in _LOST)):
        return "another process of the run has ended or cannot be reached. See its message or log."
    workers = (
        "Check the free memory, use fewer with --data.num_workers, or read in the main process with "
        "--data.num_workers 0"
    )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        if cause := _user_error_before(error):
            return str(cause)
        ended = "" if "Killed" in text else "has ended or "  # torch does not always report how
        return f"a DataLoader worker {ended}was killed. {workers}. torch reports: {text[:120].rstrip('. ')}"
    lost = isinstance(error, ConnectionError | EOFError | FileNotFoundError)
    if lost and any(frame.name == "rebuild_storage_fd" for frame in frames):  # torch fetches a batch
        return f"a DataLoader worker has ended or was killed, and its batch is lost. {workers}."
    return None


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
