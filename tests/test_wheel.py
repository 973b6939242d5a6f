"""The wheel, installed outside of the checkout."""

import os
import shutil
import subprocess
import sys
from email.parser import BytesParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.conftest import ROOT

CODE = """
import sys, vocseg
from vocseg.__main__ import main
print("installed in", vocseg.__file__)
main(["report", "run"])
main(["curves", "run"])
main(["models", "resnet18"])
try:
    main(["fit", "--config", "standard", "--print_config"])
except SystemExit as end:
    sys.exit(end.code)
"""


def _pip(*words: str) -> None:
    own = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, env={**os.environ, **own}, timeout=120)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: the checkout may hold files of an older build."""
    source, built = (tmp_path_factory.mktemp(name) for name in ("source", "built"))
    shutil.copytree(ROOT / "vocseg", source / "vocseg", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(source))
    return next(built.glob("vocseg-*.whl"))


def test_wheel_has_all_files_of_the_package(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "vocseg").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    assert {name for name in packed if name.startswith("vocseg/")} == wanted
    assert {name.split("/")[0].split("-")[0] for name in packed} == {"vocseg"}


def test_metadata_of_the_wheel_states_no_licence(wheel: Path) -> None:
    """The licence is the owner's to choose."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert metadata["Keywords"]
    assert metadata["License-Expression"] is None
    assert not any(each.startswith("License") for each in metadata.get_all("Classifier", []))


def test_installed_wheel_runs_commands_recipes_and_templates(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment; vocseg itself comes from the wheel alone."""
    site = tmp_path / "site"
    _pip("install", "--no-deps", "--no-compile", "--target", str(site), str(wheel))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("seed_everything: 1\n")
    (run / "metrics.csv").write_text("epoch,step,loss/val,miou/val\n0,9,2.0,0.1\n1,19,1.0,0.2\n")

    def output(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "usage: python -m vocseg COMMAND" in output(str(site / "bin/vocseg"), "--help")
    said = output(sys.executable, "-c", CODE)
    assert f"installed in {site / 'vocseg'}" in said
    assert "lr_scheduler: onecycle" in said
    assert "mean IoU" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "curves.svg").is_file()
    assert "next     python -m vocseg fit --model.encoder resnet18" in said
