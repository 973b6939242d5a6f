"""Commands in processes of their own that need not import torch first: they are forked from one that has.

`python -m vocseg` spends five seconds on imports, and tests start it dozens of times: `fork_server.py` does
that once. Other tests show that the real thing starts.
"""

import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fork_server import received

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class Forked:
    """`python -m vocseg WORDS` in a session of its own; what it says goes to files.

    Attributes:
        pid: Of the process.
    """

    def __init__(self, words: list[str], here: Path, code: str | None = None, **environment: str) -> None:
        """Start it.

        Args:
            words: Its arguments.
            here: Its working folder.
            code: What runs instead of `vocseg`, as with `python -c`.
            environment: What differs from this process's.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="said-"))
        self._code: int | None = None
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_address())
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            request = [words, str(here), code, {**os.environ, **ENVIRONMENT, **environment}]
            content = json.dumps(request).encode()
            socket.send_fds(self._server, [len(content).to_bytes(4)], [out.fileno(), err.fileno()])
            self._server.sendall(content)
        self.pid = int.from_bytes(received(self._server, 4))

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left behind, nor what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        self._server.close()
        shutil.rmtree(self._folder)

    @property
    def out(self) -> str:
        """What it has printed."""
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        """What it has said on standard error."""
        return (self._folder / "err").read_text()

    def poll(self) -> int | None:
        """Its exit code (negative: a signal); None if it runs."""
        if self._code is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self._code

    def wait(self, seconds: float = 60) -> int:
        """Its exit code.

        Raises:
            TimeoutError: If it takes longer.
        """
        if self._code is None:
            self._server.settimeout(seconds)
            self._code = int.from_bytes(received(self._server, 4), signed=True)
        return self._code

    def wait_for(self, line: str, seconds: float = 200) -> None:
        """Wait until it has printed something.

        Raises:
            AssertionError: If it does not.
        """
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
def _address() -> str:
    """Of the process that forks, which is started when first asked for."""
    folder = tempfile.mkdtemp(prefix="forks-")
    path = f"{folder}/socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", path],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def end() -> None:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return path
