"""Setting up: done once, done again when something changed, and mended when it broke off."""

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

# Stands for Python: notes what is asked of it; `venv` makes a folder with itself, `pip` fails on request.
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
    """A folder with what set-up needs, and a stand-in for Python."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "python").write_text(STUB.format(python=sys.executable))
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def _setup(clone: Path, *extra: str) -> tuple[int, list[str]]:
    """Exit code of a set-up, and what it called."""
    (clone / "calls").unlink(missing_ok=True)
    environment = {**os.environ, "PYTHON": str(clone / "python")}
    done = subprocess.run(["scripts/setup", *extra], cwd=clone, env=environment, capture_output=True)
    calls = (clone / "calls").read_text().splitlines() if (clone / "calls").exists() else []
    return done.returncode, [call.split()[0] for call in calls]


def test_it_is_done_once(clone: Path) -> None:
    assert _setup(clone) == (0, ["venv", "uv"])
    assert _setup(clone) == (0, [])


def test_what_the_tests_need_serves_the_demo_too_but_not_the_other_way_round(clone: Path) -> None:
    _setup(clone)
    assert _setup(clone, "dev") == (0, ["venv", "uv"])
    assert _setup(clone) == (0, [])


def test_it_is_done_again_when_the_requirements_change(clone: Path) -> None:
    _setup(clone)
    (clone / "pyproject.toml").write_text("[project]\n")
    assert _setup(clone) == (0, ["venv", "uv"])


def test_one_that_broke_off_is_begun_anew(clone: Path) -> None:
    (clone / "broken").touch()
    assert _setup(clone)[0] != 0
    (clone / ".venv" / "half").touch()
    (clone / "broken").unlink()
    assert _setup(clone) == (0, ["venv", "uv"])
    assert not (clone / ".venv" / "half").exists()
    assert _setup(clone) == (0, [])


def test_another_python_is_refused_with_a_sentence(clone: Path) -> None:
    (clone / "python").write_text(
        '#!/bin/sh\ncase "$1" in --version) echo Python 3.8.1 ;; *) exit 1 ;; esac\n'
    )
    environment = {**os.environ, "PYTHON": str(clone / "python")}
    done = subprocess.run(["scripts/setup"], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "vocseg needs Python 3.11 to 3.13" in done.stderr
    assert "Python 3.8.1" in done.stderr


def test_setup_without_uv_uses_pip(clone: Path) -> None:
    (clone / "proxy").touch()
    assert _setup(clone) == (0, ["venv", "uv", "pip"])


def _browser(folder: Path, *there: str, uid: int = 0, apt: int = 0) -> tuple[list[str], str]:
    """What `scripts/browser` asks of apt-get where these programs are, and what it says."""
    folder.mkdir()
    stubs = {name: "exit 0" for name in there} | {"id": f"echo {uid}"}
    if "apt-get" in there:
        stubs["apt-get"] = f'echo "$@" >> "$CALLS"; exit {apt}'
    for name, does in stubs.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "CALLS": str(folder / "calls")}
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, str(ROOT / "scripts/browser")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    calls = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
    return calls, done.stderr


def test_chromium_is_installed_by_root_where_there_is_no_browser(tmp_path: Path) -> None:
    calls, said = _browser(tmp_path / "a", "apt-get")
    assert calls == ["update -qq", "install -qq -y --no-install-recommends chromium"]
    assert said == ""
    assert _browser(tmp_path / "b", "apt-get", "google-chrome") == ([], "")


@pytest.mark.parametrize(("there", "uid", "apt"), [(["apt-get"], 1000, 0), ([], 0, 0), (["apt-get"], 0, 1)])
def test_where_chromium_cannot_be_had_it_is_said_what_to_install(
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
