"""Imports of the fork server of `tests/forks.py`."""

import gc
import os

import vocseg.cli
import vocseg.commands.resume  # noqa: F401

assert not os.path.isdir("/proc/self/task") or len(os.listdir("/proc/self/task")) == 1, (
    "threads must not be forked"
)
gc.freeze()  # or every fork traverses all of torch's objects at its end
