"""The script `reproduce`: recorded scores, bitwise identical runs, exit codes."""

import json
import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forks import run


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's scripts."""
    (tmp_path / "vocseg").symlink_to(ROOT / "vocseg")
    (tmp_path / "scripts").mkdir()
    for name in ("reproduce", "project_venv.py", "results.json"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    return tmp_path


@pytest.mark.slow
def test_second_run_is_bitwise_identical_and_has_the_recorded_scores(copy: Path) -> None:
    code = "import runpy, sys; sys.path.insert(0, 'scripts')\n"
    done = run(["sample", "--twice"], copy, code + "runpy.run_path('scripts/reproduce', run_name='__main__')")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "DIFFER" not in done.stdout
    assert done.stdout.count("bitwise identical") == 4
    assert done.stdout.count("as recorded") == 2


def test_different_or_unknown_score_fails(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(copy / "scripts"))
    loader = SourceFileLoader("reproduce", str(copy / "scripts/reproduce"))
    script = module_from_spec(spec_from_loader("reproduce", loader))  # type: ignore[arg-type]
    loader.exec_module(script)
    recorded = json.loads((ROOT / "scripts/results.json").read_text())["sample"]
    correct = {name: each["mean_iou"] for name, each in recorded.items()}
    assert script.compared("sample", correct)[1]
    assert not script.compared("sample", {**correct, "fit": correct["fit"] + 0.1})[1]
    assert not script.compared("voc", {"fit": 0.7})[1] or "voc" in json.loads(script.RESULTS.read_text())
