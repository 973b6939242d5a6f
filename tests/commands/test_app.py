"""`app`: start, end and wrong input."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.commands import app as command

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def gradio_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: name)


def test_interrupt_closes_the_page(trained: Path, capsys: Capture) -> None:
    pytest.importorskip("gradio", reason='Gradio is not installed: pip install "vocseg[app]"')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen = []

    def visit() -> None:
        for _ in range(600):
            time.sleep(0.1)
            try:
                seen.append(requests.get(f"http://127.0.0.1:{port}", timeout=30).text)
                break
            except requests.ConnectionError:
                continue
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    visitor.start()
    try:
        with pytest.raises(SystemExit) as exit:
            main(["app", "--ckpt_path", str(trained / "unet_voc.pth"), "--port", str(port)])
    finally:
        signal.signal(signal.SIGINT, before)
    visitor.join()
    assert exit.value.code == 128 + signal.SIGINT
    said = capsys.readouterr()
    assert f"Open http://127.0.0.1:{port} in a browser. Ctrl-C ends the page.\n" in said.out
    assert said.err.endswith("vocseg: stopped by SIGINT; the page is closed\n")
    assert "vocseg-result" in seen[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ckpt_path", "nothing.pth", "--port", "0"], "nothing.pth: there is no such file"),
        (["--ckpt_path", "a", "--ckpt_path", "b", "--ckpt_path", "c"], "--ckpt_path is given 3 times"),
        (["--ckpt_path", "a", "--port", "99999"], "--port 99999: bind(): port must be 0-65535"),
        (["--ckpt_path", "a", "--host", "no host"], "the page cannot be served at --host 'no host'"),
    ],
)
def test_invalid_app_flag_raises(here: Path, capsys: Capture, words: list[str], sentence: str) -> None:
    assert sentence in refused(capsys, ["app", *words])


def test_port_in_use_raises(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, ["app", "--ckpt_path", "a", "--port", port])
    assert f"--port {port}: [Errno 98] Address already in use" in said


def test_missing_gradio_raises_with_install_command(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert 'Install it: pip install "vocseg[app]"' in refused(capsys, ["app", "--ckpt_path", "a"])


def test_public_address_prints_password_warning(capsys: Capture) -> None:
    with command._listen("0.0.0.0", 0) as listener:
        command._print_address(listener)
        port = listener.getsockname()[1]
    said = capsys.readouterr().out
    assert f"Open http://127.0.0.1:{port} in" in said
    assert "there is no password" in said
