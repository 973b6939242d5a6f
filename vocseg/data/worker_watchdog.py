"""Errors and timeouts of DataLoader workers."""

import atexit
import contextlib
import multiprocessing
import shutil
import signal
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from vocseg.errors import UserError
from vocseg.utils.streams import usable_cores

T = TypeVar("T")

_TICK = 0.5  # seconds
_SHARED = Path("/dev/shm")  # shared memory on Linux


def end_workers() -> None:
    """Kill this process's DataLoader workers; a stopped one would never end otherwise."""
    for worker in multiprocessing.active_children():
        worker.kill()


@cache
def end_workers_at_exit() -> None:
    """Kill the workers when the process ends: Python would join them, stopped or not."""
    atexit.register(end_workers)


def useful_workers(ready: bool, on_gpu: bool, processes: int, batch_bytes: int) -> int:
    """Return the number of DataLoader workers that is fastest.

    It is 0 on a CPU or if items are `ready` (cached and at most flipped). Else it is one per core, at most 8,
    within the shared memory, both divided among the training processes of this machine.
    """
    # On a CPU workers take the network's cores. Sending a ready batch costs more than making it.
    wanted = max(1, min(8, usable_cores() // processes)) if on_gpu and not ready else 0
    return min(wanted, _shared_memory() // (2 * processes * batch_bytes)) if batch_bytes else wanted


def check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Raise `UserError` if the batches of DataLoader workers, two of each, do not fit into shared memory."""
    # torch would wait for the lost batch for ever.
    needed, free = 2 * workers * batch_bytes, _shared_memory()
    if needed > free:
        raise UserError(
            f"/dev/shm has room for {free / 1e6:.1f} MB, but {workers} DataLoader workers need "
            f"{needed / 1e6:.1f} MB: use fewer with --data.num_workers, read in the main process with "
            "--data.num_workers 0, or give it more room (in a container: --shm-size 8g)"
        )


def _shared_memory() -> int:
    """Free bytes; if unknown, a large number."""
    return shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else 1 << 62


class WorkerWatchdog:
    """Thread that kills DataLoader workers which return nothing for too long."""

    # torch's own time limit does not help against a stopped worker: the main process may wait for it where
    # there is no limit. Ticks are counted, as a clock would go on while the run itself is suspended.

    def __init__(self, seconds: float) -> None:
        """Start the thread; `seconds` is the time limit of one batch."""
        self._seconds, self._waiting, self._over = seconds, 0, threading.Event()
        self._error: UserError | None = None
        threading.Thread(target=self._watch, name="loader-watchdog", daemon=True).start()

    def wait(self, get: Callable[[], T]) -> T:
        """Call `get` under the time limit.

        Raises:
            UserError: If it took too long.
        """
        self._waiting += 1  # odd while waiting
        try:
            return get()
        except Exception as error:
            if self._error is not None:
                # torch's handler would raise the end of each further worker at any later statement.
                with contextlib.suppress(ValueError, AttributeError):  # not the main thread; Windows
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                raise self._error from error
            raise
        finally:
            self._waiting += 1

    def close(self) -> None:
        """Stop the thread."""
        self._over.set()

    def _watch(self) -> None:
        ticks, seen = 0, 0
        while not self._over.wait(_TICK):
            ticks = ticks + 1 if self._waiting == seen and seen % 2 else 0
            seen = self._waiting
            if ticks * _TICK >= self._seconds:
                self._error = UserError(
                    f"the DataLoader workers returned no batch for {self._seconds:g} seconds: if reading may "
                    "take that long, raise --data.timeout; else check the free memory, use fewer with "
                    "--data.num_workers, or read in the main process with --data.num_workers 0"
                )
                end_workers()  # which makes `get` raise
                return
