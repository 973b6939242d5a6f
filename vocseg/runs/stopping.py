"""Signals that ask a run to stop: it saves at the next boundary between two steps, on all processes."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from torch import distributed

from vocseg.errors import Stopped
from vocseg.interruption import SIGNALS


class Wishes:
    """What is asked of a run from outside, or by the clock, and agreed on by all processes.

    A handler only notes its signal: whatever it did else would happen in the midst of a step, or in one
    process while the others wait for it in another place. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._group: Any = None
        self._before: dict[int, Any] = {}

    def listen(self, world: int) -> None:
        """Start to note signals, and open a way to agree.

        Args:
            world: Number of processes; each must call this.
        """
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.signal(number, self._note)
                self._before.setdefault(number, before)
        if world > 1 and self._group is None:
            self._group = distributed.new_group(backend="gloo")  # flags lie in host memory: no GPU waits

    def close(self) -> None:
        """Give the signals back."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                if signal.getsignal(number) == self._note:
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def agreed(self, save: bool) -> tuple[int, bool]:
        """The signal that any process got (0: none), and whether any wants to save; every process must call.

        Args:
            save: Whether this process wants to save.
        """
        if self._group is None:
            return self.signal, save
        wishes = torch.tensor([self.signal, int(save)])
        distributed.all_reduce(wishes, op=distributed.ReduceOp.MAX, group=self._group)
        return int(wishes[0]), bool(wishes[1])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number


def stopped(number: int, saved: str) -> Stopped:
    """What ends a run after a signal.

    Args:
        number: The signal's.
        saved: What was saved where, and how to go on.
    """
    return Stopped(f"stopped by {signal.Signals(number).name}; {saved}", 128 + number)
