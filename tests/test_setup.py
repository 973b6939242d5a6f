"""Scripts that set up: `scripts/setup`, `scripts/browser`, the console script."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vocseg import __version__

# Stands for Python: records its calls; `venv` makes a folder with itself, `pip` fails where `broken` exists.
STUB = """#!/bin/sh
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo venv >> calls ;;
    "-m pip") case "$*" in *" uv") ;; *) echo pip >> calls; [ ! -e broken ] ;; esac ;;
    "-m uv") echo uv >> calls; [ ! -e broken ] && [ ! -e proxy ] ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project with the stand-in for Python."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/setup", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "python").write_text(STUB.format(python=sys.executable))
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def _run_setup(clone: Path, *extra: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHON": str(clone / "python")}
    return subprocess.run(
        ["scripts/setup", *extra], cwd=clone, env=environment, capture_output=True, text=True
    )


def _setup(clone: Path, *extra: str) -> tuple[int, list[str]]:
    """Exit code of a set-up, and its calls."""
    (clone / "calls").write_text("")
    code = _run_setup(clone, *extra).returncode
    return code, [call.split()[0] for call in (clone / "calls").read_text().splitlines()]


def test_setup_installs_only_what_is_missing_or_changed(clone: Path) -> None:
    assert _setup(clone) == (0, ["venv", "uv"])
    assert _setup(clone) == (0, [])
    assert _setup(clone, "dev") == (0, ["venv", "uv"])
    assert _setup(clone) == (0, [])
    (clone / "pyproject.toml").write_text("[project]\n")
    assert _setup(clone) == (0, ["venv", "uv"])


def test_interrupted_setup_starts_anew(clone: Path) -> None:
    (clone / "broken").touch()
    assert _setup(clone)[0] != 0
    (clone / ".venv" / "half").touch()
    (clone / "broken").unlink()
    assert _setup(clone) == (0, ["venv", "uv"])
    assert not (clone / ".venv" / "half").exists()
    assert _setup(clone) == (0, [])


def test_unsupported_python_is_refused(clone: Path) -> None:
    (clone / "python").write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 || exit 1\n')
    done = _run_setup(clone)
    assert done.returncode == 2
    assert "vocseg needs Python 3.11 to 3.13" in done.stderr
    assert "Python 3.8.1" in done.stderr


def test_setup_without_uv_uses_pip(clone: Path) -> None:
    (clone / "proxy").touch()
    assert _setup(clone) == (0, ["venv", "uv", "pip"])


def _browser(folder: Path, *there: str, uid: int = 0, apt: int = 0) -> tuple[list[str], str]:
    """Calls of apt-get by `scripts/browser` on a system with these programs, and its standard error."""
    folder.mkdir()
    (folder / "calls").touch()
    for name in (*there, "id"):
        (folder / name).write_text(f'#!/bin/sh\necho "$@" >> "$CALLS"; exit {apt}\n')
        (folder / name).chmod(0o755)
    (folder / "id").write_text(f"#!/bin/sh\necho {uid}\n")
    environment = {"PATH": str(folder), "CALLS": str(folder / "calls")}
    words = [str(shutil.which("bash")), str(ROOT / "scripts/browser")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    return (folder / "calls").read_text().splitlines(), done.stderr


def test_root_without_browser_installs_chromium(tmp_path: Path) -> None:
    calls, said = _browser(tmp_path / "a", "apt-get")
    assert calls == ["update -qq", "install -qq -y --no-install-recommends chromium"]
    assert said == ""
    assert _browser(tmp_path / "b", "apt-get", "google-chrome") == ([], "")


@pytest.mark.parametrize(("there", "uid", "apt"), [(["apt-get"], 1000, 0), (["apt-get"], 0, 1)])
def test_unavailable_chromium_prints_the_command(
    tmp_path: Path, there: list[str], uid: int, apt: int
) -> None:
    assert "apt-get install chromium" in _browser(tmp_path / "a", *there, uid=uid, apt=apt)[1]


def test_console_script_runs_the_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["vocseg"]
    monkeypatch.setattr(sys, "argv", ["vocseg", "--version"])
    EntryPoint("vocseg", declared, "console_scripts").load()()
    assert capsys.readouterr().out == f"vocseg {__version__}\n"
