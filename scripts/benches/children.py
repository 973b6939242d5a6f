"""Commands of vocseg as processes that need not import torch and Lightning anew."""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["vocseg.cli"])


def _command(words: tuple[str, ...], log: str) -> None:
    """What `python -m vocseg WORDS` does, its output in a file."""
    nothing, said = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(source, target)
    sys.argv = ["vocseg", *words]
    runpy.run_module("vocseg", run_name="__main__", alter_sys=True)


def run(words: tuple[str, ...], log: Path) -> int:
    """Run a command and wait for it.

    Args:
        words: Of the command line.
        log: File for its output.

    Returns:
        Its exit code, negative if a signal ended it.
    """
    child = _CONTEXT.Process(target=_command, args=(words, str(log)))
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode
