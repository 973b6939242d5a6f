"""The script behind the results table: the same numbers, the same bytes, and a failure when they differ."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forks import run


def _reproduce(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a copy of the project."""
    code = "import runpy; runpy.run_path('scripts/reproduce', run_name='__main__')"
    return run(["sample", *words], folder, code, timeout=900)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "vocseg").symlink_to(ROOT / "vocseg")
    (tmp_path / "scripts").mkdir()
    for name in ("reproduce", "results.json"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    return tmp_path


@pytest.mark.slow
def test_the_recorded_numbers_come_out_again_and_twice_the_same_bytes(copy: Path) -> None:
    done = _reproduce(copy, "--twice")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "DIFFER" not in done.stdout
    assert done.stdout.count("the same to the bit") == 4
    assert done.stdout.count("as recorded") == 2


def test_a_number_that_is_off_or_unknown_fails(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    monkeypatch.setattr(sys, "path", list(sys.path))
    loader = SourceFileLoader("reproduce", str(copy / "scripts/reproduce"))
    script = module_from_spec(spec_from_loader("reproduce", loader))  # type: ignore[arg-type]
    loader.exec_module(script)
    recorded = json.loads((ROOT / "scripts/results.json").read_text())["sample"]
    right = {name: each["mean_iou"] for name, each in recorded.items()}
    assert script.compared("sample", right)[1]
    assert not script.compared("sample", {**right, "fit": right["fit"] + 0.1})[1]
    assert not script.compared("voc", {"fit": 0.7})[1] or "voc" in json.loads(script.RESULTS.read_text())
