"""A process that has imported everything, and forks for whoever asks at its socket; see `forks.py`.

What is forked must have no threads, so that it does nothing else. It ends with who started it.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from typing import Any


def received(connection: socket.socket, number: int) -> bytes:
    """So many bytes."""
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
        threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
        assert threads == 1, "a process that has threads must not be forked"
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
    request: list[Any] = json.loads(received(connection, int.from_bytes(size)))
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
    import vocseg.commands.resume  # noqa: F401

    gc.freeze()  # or every one that is forked looks through all of torch when it ends, for seconds
    _become(*_serve(sys.argv[1]))
