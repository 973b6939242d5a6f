"""Errors and timeouts of DataLoader workers."""

import atexit
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from vocseg.errors import UserError

T = TypeVar("T")

_TICK = 0.5  # seconds
_SHARED = Path("/dev/shm")  # where Linux keeps what processes share
_HINT = (
    "check the free memory, use fewer with --data.num_workers, or read in the main process with "
    "--data.num_workers 0"
)


def end_workers() -> None:
    """End this process's loader processes at once: a stopped one would let the ordinary way wait for ever."""
    for worker in multiprocessing.active_children():
        worker.kill()


@cache
def end_workers_at_exit() -> None:
    """Let none keep the process from ending: Python itself joins them, stopped or not."""
    atexit.register(end_workers)


def useful_workers(ready: bool, on_gpu: bool, processes: int, batch_bytes: int) -> int:
    """How many loader processes make a run faster.

    None on a CPU, where they would take the network's cores, and none where items are ready, as handing a
    batch over costs more than making it then; else one a core up to 8, as far as shared memory has room.

    Args:
        ready: Whether items are little more than copied; else they are decoded, or cropped and coloured.
        on_gpu: Whether the network is computed on one.
        processes: That train on this machine, and share its cores and memory.
        batch_bytes: Of a batch.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = max(1, min(8, cores // processes)) if on_gpu and not ready else 0
    return min(wanted, _shared_memory() // (processes * _held(1, batch_bytes))) if batch_bytes else wanted


class WorkerWatchdog:
    """Ends loader processes that give nothing for too long.

    A thread, as torch's own time limit does not help against a stopped process: the main one may be waiting
    for a word from it in a place without a limit. Ticks are counted rather than a clock read, so that a run
    that was suspended itself goes on.
    """

    def __init__(self, seconds: float) -> None:
        """Begin to watch.

        Args:
            seconds: How long one batch may take.
        """
        self._seconds, self._waiting, self._over = seconds, 0, threading.Event()
        self._fault: UserError | None = None
        threading.Thread(target=self._watch, name="loader-watchdog", daemon=True).start()

    def wait(self, get: Callable[[], T]) -> T:
        """What `get` gives.

        Raises:
            UserError: If it took too long.
        """
        self._waiting += 1  # an odd number: somebody waits
        try:
            return get()
        except Exception as fault:
            if self._fault is not None:
                raise self._fault from fault
            raise
        finally:
            self._waiting += 1

    def close(self) -> None:
        """Watch no more."""
        self._over.set()

    def _watch(self) -> None:
        ticks, seen = 0, 0
        while not self._over.wait(_TICK):
            ticks = ticks + 1 if self._waiting == seen and seen % 2 else 0
            seen = self._waiting
            if ticks * _TICK >= self._seconds:
                self._fault = _stuck(self._seconds)
                end_workers()  # whoever waits for them is told at once
                return


def check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Whether the batches that loader processes hold ready fit into shared memory.

    Raises:
        UserError: If they do not: torch would wait for the lost batch for ever.
    """
    needed, free = _held(workers, batch_bytes), _shared_memory()
    if needed > free:
        raise UserError(
            f"/dev/shm has room for {free / 1e6:.1f} MB, but {workers} DataLoader workers need "
            f"{needed / 1e6:.1f} MB: use fewer with --data.num_workers, read in the main process with "
            "--data.num_workers 0, or give it more room (in a container: --shm-size 8g)"
        )


def _held(workers: int, batch_bytes: int) -> int:
    """Bytes of the batches that wait in shared memory: each process has two ready."""
    return 2 * workers * batch_bytes


def _shared_memory() -> int:
    """Bytes that are free there; where there is no telling, enough."""
    return shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else 1 << 62


def _stuck(seconds: float) -> UserError:
    stopped = [str(worker.pid) for worker in multiprocessing.active_children() if _is_stopped(worker.pid)]
    which = f" (process {', '.join(stopped)} is stopped)" if stopped else ""
    return UserError(
        f"the loader processes gave no batch for {seconds:g} seconds{which}: if reading may take that long, "
        f"raise --data.timeout; else {_HINT}"
    )


def _is_stopped(pid: int | None) -> bool:
    """Whether a process is held by a signal; False where there is no /proc to ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False
