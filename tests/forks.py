"""Commands in processes of their own that need not import torch first.

`python -m vocseg` spends five seconds on imports, and tests start it dozens of times. The standard library's
fork server does that once, by its preload. Other tests show that the real command starts.
"""

import atexit
import contextlib
import functools
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class Forked:
    """`python -m vocseg WORDS` in a session of its own, with its output in files.

    Attributes:
        pid: Process id.
    """

    def __init__(self, words: list[str], here: Path, code: str | None = None, **environment: str) -> None:
        """Start it in the folder `here`; `code` runs instead of `vocseg`, as with `python -c`."""
        self._folder = Path(tempfile.mkdtemp(prefix="output-"))
        for name in ("out", "err"):
            (self._folder / name).touch()
        variables = {**os.environ, **ENVIRONMENT, **environment}
        arguments = words, str(here), code, variables, str(self._folder)
        self._process = _context().Process(target=_become, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self.wait()
        shutil.rmtree(self._folder)

    @property
    def out(self) -> str:
        """Standard output so far."""
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return (self._folder / "err").read_text()

    def poll(self) -> int | None:
        """Exit code (negative: a signal), or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = 60) -> int:
        """Exit code; an error if it takes longer."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"the process still runs after {seconds:g} s: {self.out}{self.err}")
        return self._process.exitcode

    def wait_for(self, line: str, seconds: float = 200) -> None:
        """Wait until it has printed a text."""
        deadline = time.monotonic() + seconds
        while line not in self.out:
            assert self.poll() is None, self.out + self.err
            assert time.monotonic() < deadline, self.out + self.err
            time.sleep(0.01)


def run(
    words: list[str], here: Path, code: str | None = None, timeout: float = 300, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    with Forked(words, here, code, **environment) as process:
        ended = process.wait(timeout)
        return subprocess.CompletedProcess(words, ended, process.out, process.err)


def run_together(words: list[str], here: Path, processes: int) -> "list[subprocess.CompletedProcess[str]]":
    """Run it on several processes, as torchrun starts them."""
    code = (
        "import os, runpy\nfrom lightning.pytorch.utilities import rank_zero_only\n"
        "rank_zero_only.rank = int(os.environ['RANK'])\n"  # which was set on import
        "runpy.run_module('vocseg', run_name='__main__', alter_sys=True)\n"
    )
    words = [*words, "--trainer.devices", str(processes), "--trainer.strategy", "ddp"]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0"}
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(Forked(words, here, code, **shared, RANK=str(k), LOCAL_RANK=str(k)))
            for k in range(processes)
        ]
        codes = [each.wait(200) for each in started]
        return [
            subprocess.CompletedProcess(words, code, each.out, each.err)
            for code, each in zip(codes, started, strict=True)
        ]


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def may_mount() -> bool:
    """Whether this user may have a mount namespace of its own."""
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def after_mounting(script: str) -> str:
    """Code that runs `vocseg` in a mount namespace of its own, once a script has mounted something there."""
    return (
        "import ctypes, runpy, subprocess\n"
        "assert ctypes.CDLL(None).unshare(0x20000) == 0\n"  # CLONE_NEWNS
        f"subprocess.run(['sh', '-c', 'mount --make-rprivate / && ' + {script!r}], check=True)\n"
        "runpy.run_module('vocseg', run_name='__main__', alter_sys=True)\n"
    )


@functools.cache
def _context() -> ForkServerContext:
    """The fork server, with torch, Lightning and vocseg imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    with patch.dict(os.environ, ENVIRONMENT):
        multiprocessing.forkserver.ensure_running()
    return context


def _become(words: list[str], here: str, code: str | None, variables: dict[str, str], folder: str) -> None:
    """Run a command as a fresh interpreter would, and end the process."""
    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    os.chdir(here)
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None  # a cached value of the fork server
    multiprocessing.set_start_method(None, force=True)
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]  # it is no child
    sys.argv = ["-c", *words]
    ended = 0
    try:
        if code is None:
            runpy.run_module("vocseg", run_name="__main__", alter_sys=True)
        else:
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        ended = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as an interpreter does
        traceback.print_exc()
        ended = 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended)
