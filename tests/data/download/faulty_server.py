"""A real HTTP server on this machine that serves one file, and fails as it is told to."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """How one answer fails: `kind`, after `at` bytes of the body where that matters."""

    kind: str
    at: int = 0


@dataclass
class Request:
    """What was asked, and what was given."""

    path: str
    range: str | None
    condition: str | None
    status: int = 0
    sent: int = 0


@dataclass
class FaultyServer:
    """Serves `content` at every path; `plan` holds the faults of the next answers, then `always` counts."""

    content: bytes
    tag: str | None = '"first"'
    ranges: bool = True
    plan: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    delay: float = 0.0  # seconds between blocks of 16 KiB
    log: list[Request] = field(default_factory=list)
    address: str = ""

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.log)


@contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    """Serve until the block ends."""

    class Bound(_Handler):
        plan = server

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as http:
        http.daemon_threads = True
        http.block_on_close = False
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        server.address = f"http://127.0.0.1:{http.server_port}"
        yield server
        http.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: FaultyServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        self.plan.log.append(request)
        fault = self.plan.plan.pop(0) if self.plan.plan else self.plan.always or Fault("none")
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):  # the client went away
            getattr(self, f"_{fault.kind}", self._file)(request, fault)

    def _head(self, request: Request, status: int, headers: dict[str, str]) -> None:
        request.status = status
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, request: Request, fault: Fault) -> None:
        """The file or the rest of it, as a server should, but for the fault."""
        body = self.plan.content
        headers = {"Content-Type": "application/x-tar"} | ({"ETag": self.plan.tag} if self.plan.tag else {})
        met = request.condition in (None, self.plan.tag)
        first = int(request.range[6:-1]) if request.range and self.plan.ranges and met else None
        if first is not None:
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            body = body[first:]
        if fault.kind == "wrong":
            body = bytes(len(body))
        length = len(body) + {"longer": 1000}.get(fault.kind, 0)
        if fault.kind in ("chunked", "endless"):
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(length)
        self._head(request, 200 if first is None else 206, headers)
        if fault.kind == "endless":
            body += bytes(1 << 20)
        self._send(request, body[: fault.at] if fault.at else body, fault)

    def _send(self, request: Request, body: bytes, fault: Fault) -> None:
        for k in range(0, len(body), 1 << 14):
            block = body[k : k + (1 << 14)]
            chunked = fault.kind in ("chunked", "endless")
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            request.sent += len(block)
            time.sleep(self.plan.delay)
        if fault.kind == "chunked":
            self.wfile.write(b"0\r\n\r\n")  # a proper end, though bytes are missing
        if fault.kind == "stall":
            self.rfile.read(1)  # waits until the client gives up

    def _status(self, request: Request, fault: Fault) -> None:
        self._head(request, fault.at, {"Content-Length": "0"})

    def _html(self, request: Request, fault: Fault) -> None:
        page = b"<html>please log in</html>"
        self._head(
            request, 200, {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(page))}
        )
        self.wfile.write(page)
