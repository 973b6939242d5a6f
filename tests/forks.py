"""Commands in processes of their own that need not import torch first: they are forked from one that has.

`python -m vocseg` spends five seconds on imports, and tests start it dozens of times. What is forked must
have no threads, so that this is a process which imports everything and does nothing else: it waits for
requests at a socket, and ends with who started it. Other tests show that the real thing starts.
"""

import array
import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
            handles = array.array("i", [out.fileno(), err.fileno()])
            content = json.dumps(request).encode()
            self._server.sendmsg(
                [len(content).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)]
            )
            self._server.sendall(content)
        self.pid = int.from_bytes(_received(self._server, 4))

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
            self._code = int.from_bytes(_received(self._server, 4), signed=True)
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
        [sys.executable, "-m", "tests.forks", path],
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


def _received(connection: socket.socket, number: int) -> bytes:
    content = b""
    while len(content) < number:
        part = connection.recv(number - len(content))
        assert part, "the process that forks has ended"
        content += part
    return content


def _serve(path: str) -> list[Any]:
    """Fork for each request; returns in what was forked, with the request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(16)
        assert len(os.listdir("/proc/self/task")) == 1, "a process that has threads must not be forked"
        os.write(1, b"ready\n")
        while True:
            if 0 in select.select([0, server], [], [])[0]:  # who started this has ended
                os._exit(0)
            connection = server.accept()[0]
            if os.fork() == 0:
                server.close()
                return _watched(connection)
            connection.close()


def _watched(connection: socket.socket) -> list[Any]:
    """Fork once more: one becomes what is asked for, the other tells how that ended."""
    size, handles, *_ = socket.recv_fds(connection, 4, 2)
    request: list[Any] = json.loads(_received(connection, int.from_bytes(size)))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        for handle in handles:
            os.close(handle)
        connection.sendall(pid.to_bytes(4))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            connection.sendall(code.to_bytes(4, signed=True))
        os._exit(0)
    connection.close()
    os.setsid()
    for number, handle in zip((1, 2), handles, strict=True):
        os.dup2(handle, number)
        os.close(handle)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return request


def _become(words: list[str], here: str, code: str | None, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background
    os.chdir(here)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # which is looked up once
    sys.argv = ["-c", *words]
    if code is None:
        runpy.run_module("vocseg", run_name="__main__", alter_sys=True)
    else:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    import vocseg.cli
    import vocseg.resume  # noqa: F401

    gc.freeze()  # or every one that is forked looks through all of torch when it ends, for seconds
    _become(*_serve(sys.argv[1]))
