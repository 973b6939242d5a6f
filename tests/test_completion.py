"""Command `completion`: what bash completes with its script."""

import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.conftest import refused
from vocseg.__main__ import TOOLS, VERBS, main

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "vocseg.bash"
    with path.open("w") as file, redirect_stdout(file):
        main(["completion", "bash"])
    return path


def _completed(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    assert BASH is not None
    code = f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vocseg; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run([BASH, "-c", code, "bash", "vocseg", *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_bash_completes_commands_flags_and_values(script: Path) -> None:
    assert _completed(script, "") == {*VERBS, *TOOLS}
    assert _completed(script, "pre") == {"predict"}
    assert {"--model.encoder", "--model.encoder_weights"} <= _completed(script, "fit", "--model.enc")
    assert "--trainer.max_epochs" in _completed(script, "fit", "--model.lr", "1", "--trainer.max")
    assert _completed(script, "fit", "--model.optimizer", "") == {"adam", "adamw", "sgd"}
    assert "standard" in _completed(script, "fit", "--config", "st")
    assert _completed(script, "export", "--format", "o") == {"onnx", "openvino"}
    assert {"--allow", "--data.root"} <= _completed(script, "resume", "run", "--")
    assert _completed(script, "predict", "--ckpt_path", "a") == set()  # files: `complete -o default`


def test_completion_has_flags_of_every_command(script: Path) -> None:
    for command in (*VERBS, *TOOLS):
        assert f'"{command} "*) words="--help ' in script.read_text() or command == "resume"


def test_completion_for_unknown_shell_raises(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--shell: Expected a typing.Literal['bash', 'zsh']" in refused(capsys, ["completion", "fish"])
