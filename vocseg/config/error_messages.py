"""Translation of third-party exceptions to user errors."""

import os
import re
import traceback
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from vocseg.checkpoints.run_dir import LOGS, gone
from vocseg.errors import UserError

_WORKERS = (
    "check the free memory, use fewer with --data.num_workers, or read in the main process with "
    "--data.num_workers 0"
)
_DEVICES = "accelerator_connector.py"  # where Lightning sees whether devices, strategy and precision agree
_LOADING = {"load_model_state_dict", "load_optimizer_state_dict"}  # Lightning's, of a checkpoint
_INTERVAL = "`val_check_interval` ("
_LOST = ("gloo/transport", "Connection closed by peer", "NCCL communicator was aborted", "Watchdog caught")


def to_user_error(fault: BaseException, trainer: Any = None) -> UserError | None:
    """A sentence for a fault that is nobody's bug.

    Args:
        fault: What was raised.
        trainer: Lightning's, if there is one already: it knows the sizes in use.

    Returns:
        What to say; None: it is something else, and its traceback should show.
    """
    if isinstance(fault, UserError):
        return fault
    text = " ".join(str(fault).split())
    if isinstance(fault, FileNotFoundError) and (folder := _lost_folder(fault)):
        return gone(folder)
    if is_out_of_memory(fault):
        return UserError(_out_of_memory(fault, text, trainer))
    if isinstance(fault, ValueError) and "more than 1 value per channel" in text:
        return UserError(_too_few_for_a_mean(trainer))
    if missing := re.search(r"Requirement '([^']+)' not met", text):
        return UserError(f"a package is missing that a flag asks for: pip install '{missing[1]}'")
    if isinstance(fault, (ValueError, TypeError)) and (_DEVICES in _files(fault) or _INTERVAL in text):
        return UserError(text)
    if isinstance(fault, MisconfigurationException) and (trainer is None or "limit_" in text):
        return UserError(text)
    if isinstance(fault, (ValueError, RuntimeError)) and _LOADING & _functions(fault):
        return UserError(
            f"the checkpoint does not fit what the flags describe ({text[:120].rstrip('.')}): set flags of "
            "network and optimizer back. --allow accepts other values, not another structure"
        )
    if is_lost_process(fault):
        return UserError("another process of the run has ended, or cannot be reached: see its message or log")
    if isinstance(fault, RuntimeError) and ("shared memory" in text or "Bus error" in text):
        return UserError(
            "/dev/shm has no room for the batches of loader processes: read in the main process with "
            "--data.num_workers 0, use fewer, or give it more room (in a container: --shm-size 8g)"
        )
    if isinstance(fault, RuntimeError) and "DataLoader worker" in text:
        if earlier := _earlier(fault):
            return earlier
        or_so = "" if "Killed" in text else "has ended or "  # torch does not always see how
        killed = f"{or_so}was killed (the machine may have run out of memory)"
        return UserError(f"a loader process {killed}: {_WORKERS}; torch says: {text[:120].rstrip('. ')}")
    if isinstance(fault, (ConnectionError, EOFError, FileNotFoundError)) and _fetched_from_a_loader(fault):
        return UserError(
            f"a loader process has ended or was killed, and with it the batch it held: {_WORKERS}"
        )
    return None


def _lost_folder(fault: FileNotFoundError) -> Path | None:
    """The run's folder, if that is what is not there any more."""
    path = Path(os.fsdecode(fault.filename or ""))  # TensorBoard's writer names it in bytes
    folder = next((each for each in (path, *path.parents) if each.name.startswith("version_")), None)
    return folder if folder is not None and LOGS in folder.parts and not folder.exists() else None


def _fetched_from_a_loader(fault: BaseException) -> bool:
    """Whether it arose where torch fetches the memory of a batch from the process that made it."""
    return "rebuild_storage_fd" in _functions(fault)


def _files(fault: BaseException) -> set[str]:
    """Names of those whose lines it went through."""
    return {Path(frame.filename).name for frame in traceback.extract_tb(fault.__traceback__)}


def _functions(fault: BaseException) -> set[str]:
    """Names of those that it went through."""
    return {frame.name for frame in traceback.extract_tb(fault.__traceback__)}


def _earlier(fault: BaseException) -> UserError | None:
    """The sentence in whose wake loader processes were ended, which torch takes for a fault of its own."""
    seen = fault.__cause__ or fault.__context__
    while seen is not None and not isinstance(seen, UserError):
        seen = seen.__cause__ or seen.__context__
    return seen


def is_lost_process(fault: BaseException) -> bool:
    """Whether the fault is that another process of the run is not there any more."""
    network = isinstance(fault, torch.distributed.DistError) if torch.distributed.is_available() else False
    return network or (isinstance(fault, RuntimeError) and any(words in str(fault) for words in _LOST))


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether memory was asked for that is not there, on whatever device."""
    own = isinstance(fault, (torch.OutOfMemoryError, MemoryError))
    return own or (isinstance(fault, RuntimeError) and "DefaultCPUAllocator" in str(fault))


def _out_of_memory(fault: BaseException, text: str, trainer: Any) -> str:
    data = getattr(trainer, "datamodule", None)
    what = "GPU" if isinstance(fault, torch.OutOfMemoryError) else "machine"
    if data is None or not hasattr(data, "batch_size"):
        return f"the {what} has not enough memory ({text[:120]}): make the batch or the images smaller"
    return (
        f"the {what} has not enough memory for a batch{_of(data)}"
        f"{_place(fault)}: use {_smaller(data, trainer)}"
    )


def _too_few_for_a_mean(trainer: Any) -> str:
    data = getattr(trainer, "datamodule", None)
    of = _of(data) if hasattr(data, "batch_size") else ""
    return (
        f"BatchNorm gets a single value for each channel from this batch{of}, and cannot train on one: "
        "use a larger --data.batch_size"
    )


def _of(data: Any) -> str:
    images = "image" if data.batch_size == 1 else "images"
    return f" of {data.batch_size} {images} at {data.image_size}x{data.image_size}"


def _smaller(data: Any, trainer: Any) -> str:
    """The flags for the next smaller batch that keeps the number of images a step."""
    batch = int(data.batch_size)
    if batch == 1:
        return f"a smaller --data.image_size than {data.image_size}, or --trainer.precision bf16-mixed"
    parts = next(k for k in range(2, batch + 1) if batch % k == 0)
    flag = f"--data.batch_size {batch // parts}"
    if getattr(trainer.state.fn, "value", "") != "fit":
        return flag
    return f"{flag} --trainer.accumulate_grad_batches {parts * trainer.accumulate_grad_batches}"


def _place(fault: BaseException) -> str:
    """Whether it was in training or in scoring, as the two need different amounts."""
    names = _functions(fault)
    if "training_step" in names or "backward" in names:
        return " in training"
    return " in validation" if names & {"validation_step", "test_step"} else ""
