"""The tutorial notebook: executed, twice in a row, and stored without outputs."""

import copy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT, TINY

NOTEBOOK = ROOT / "scripts" / "tutorial.ipynb"
SMALL = {
    "tu-test_efficientnet.r160_in1k": TINY,
    '"max_epochs": 12': '"max_epochs": 2',
    "max_epochs=4": "max_epochs=1",
    "train=320, val=80": "train=16, val=6",
    "max_train_samples=160, max_val_samples=40": "max_train_samples=8, max_val_samples=4",
}


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_tutorial_has_no_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 10 <= len(code) <= 14
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert sum(cell.source.count("use = SAMPLE  # or VOC") for cell in code) == 1


def test_tutorial_runs_twice_in_one_kernel(notebook: nbformat.NotebookNode, tmp_path: Path) -> None:
    small = copy.deepcopy(notebook)
    cells = [cell for cell in small.cells if cell.cell_type == "code"]
    source = "\n".join(cell.source for cell in cells)
    assert all(source.count(usual) == 1 for usual in SMALL)
    for cell in cells:
        for usual, less in SMALL.items():
            cell.source = cell.source.replace(usual, less)
    small.cells = cells + copy.deepcopy(cells)
    for k, cell in enumerate(small.cells):
        cell.id = f"cell-{k}"
    (tmp_path / "scripts").mkdir()
    settings = {"metadata": {"path": str(tmp_path / "scripts")}}
    NotebookClient(small, timeout=300, kernel_name="python3", resources=settings).execute()

    first, second = (small.cells[: len(cells)], small.cells[len(cells) :])
    for once, again in zip(first, second, strict=True):
        assert _pictures(once) == _pictures(again)
    assert sum(map(_pictures, first)) >= 5
    said = "".join(out.get("text", "") for cell in small.cells for out in cell.outputs)
    assert said.count("95 % interval") == 4
    assert said.count("epoch 1:") == 2
    assert "Traceback" not in said
    errors = [out.text for cell in small.cells for out in cell.outputs if out.get("name") == "stderr"]
    lines = "".join(errors).splitlines()
    while lines and "vocseg: no mask of" in lines[0]:  # so few images show not every class
        assert "check_labels(" in lines[1]
        del lines[:2]
    assert lines == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "lightning_logs", "scripts"]
    assert not list((tmp_path / "scripts").iterdir())


def _pictures(cell: nbformat.NotebookNode) -> int:
    return sum("image/png" in out.get("data", {}) for out in cell.outputs)
