"""`app`: page to try a network in a browser."""

import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from vocseg.errors import Interrupted, Stopped, UserError

_LOOPBACK = ("127.", "::1")


def app(ckpt_path: list[str], host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve a page to try one network, or two side by side, in a browser on this machine.

    Args:
        ckpt_path: `unet_voc.pth`, `.ckpt` or an exported file. Given twice: two networks side by side.
        host: Address to listen at. `0.0.0.0`: other machines reach the page too; there is no password.
        port: Port to listen at; 0: a free one.

    Raises:
        UserError: If Gradio is missing, a file cannot be read, or the port is in use.
    """
    if not 1 <= len(ckpt_path) <= 2:
        raise UserError(f"--ckpt_path is given {len(ckpt_path)} times: the page shows one network or two.")
    if not find_spec("gradio"):
        raise UserError('the page cannot be made: Gradio is missing. Install it: pip install "vocseg[app]"')
    with _listen(host, port) as listener:  # before the networks are loaded, which takes seconds
        from vocseg.deploy.page import Model, check_same_classes, page_server
        from vocseg.inference.predictor import load

        models = [Model(name, load(path)) for name, path in zip(_names(ckpt_path), ckpt_path, strict=True)]
        check_same_classes(models)
        try:
            with page_server(models) as server:
                _print_address(listener)
                server.run(sockets=[listener])
        except Interrupted as stop:
            raise Stopped(f"stopped by {stop.name}; the page is closed", stop.exit_code) from None


def _names(paths: Sequence[str]) -> list[str]:
    """Names of the networks: file and folder, or the whole paths where these are equal."""
    short = ["/".join(Path(path).parts[-2:]) for path in paths]
    return short if len(set(short)) == len(short) else list(paths)


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket of the page.

    Raises:
        UserError: If the address is invalid or in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UserError(
            f"the page cannot be served at --host '{host}' --port {port}: {error}. Stop the program that "
            "uses the port, or give another address (port 0: a free one)."
        ) from error


def _print_address(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")
    shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    print(f"Open http://{shown}:{port} in a browser. Ctrl-C ends the page.")
    if not host.startswith(_LOOPBACK):
        print("Other machines that reach this address can use the page; there is no password.")
    print(end="", flush=True)
