"""Command `curves`."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.conftest import refused
from vocseg.__main__ import main

Capture = pytest.CaptureFixture[str]
SVG = "{http://www.w3.org/2000/svg}"


def _texts(path: Path) -> list[str]:
    return [str(each.text) for each in ElementTree.fromstring(path.read_text()).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with curves of 30 epochs."""
    folder = tmp_path_factory.mktemp("logged") / "fit" / "version_0"
    folder.mkdir(parents=True)
    rows = "".join(f"{k},{9 * k},{2 / (k + 1)},{2.2 / (k + 1)},{k / 40},{k / 50}\n" for k in range(30))
    (folder / "metrics.csv").write_text("epoch,step,loss/train,loss/val,miou/train,miou/val\n" + rows)
    (folder / "config.yaml").write_text("seed_everything: 1\n")
    return folder


def test_curve_points_equal_logged_values(logged: Path, here: Path, capsys: Capture) -> None:
    main(["curves", str(logged)])
    assert capsys.readouterr().out == "wrote curves.svg\n"
    svg = ElementTree.fromstring((here / "curves.svg").read_text())
    lines = list(svg.iter(f"{SVG}path"))
    assert [bool(line.get("stroke-dasharray")) for line in lines] == [True, False, True, False]
    assert len({line.get("stroke") for line in lines}) == 2
    x, y = np.array(str(lines[-1].get("d")).removeprefix("M").split(), float).reshape(-1, 2).T
    assert len(x) == 30
    assert np.diff(x) == pytest.approx(np.diff(x).mean(), abs=0.11)
    assert np.diff(y) == pytest.approx(np.diff(y).mean(), abs=0.11)
    wanted = {"loss", "mean IoU, %", "epoch", "val", "train, dashed", "best mean IoU of val: epoch 30"}
    assert wanted < set(_texts(here / "curves.svg"))


def test_several_runs_share_the_charts(tested: Path, logged: Path, here: Path) -> None:
    """A scored run stands for the training of its weights."""
    main(["curves", str(logged), str(tested), "--output", "both.svg", "--labels=Adam & <b>", "--labels=SGD"])
    lines = list(ElementTree.fromstring((here / "both.svg").read_text()).iter(f"{SVG}path"))
    assert len(lines) == 8
    assert len({line.get("stroke") for line in lines}) == 2
    assert {"Adam & <b>", "SGD", "solid: val, dashed: train"} < set(_texts(here / "both.svg"))


def test_invalid_curves_arguments_raise(logged: Path, here: Path, capsys: Capture) -> None:
    assert "curves draws 1 to 6 runs, got 7" in refused(capsys, ["curves", *[str(logged)] * 7])
    assert "the file is an .svg" in refused(capsys, ["curves", str(logged), "--output", "a.pdf"])
    assert "nothing is not a run" in refused(capsys, ["curves", "nothing"])
    assert "2 names for 1 runs" in refused(capsys, ["curves", str(logged), "--labels=a", "--labels=b"])
    (here / "empty").mkdir()
    shutil.copy(logged / "config.yaml", "empty")
    (here / "empty" / "metrics.csv").write_text("epoch,step,lr-Adam\n0,0,1\n")
    assert "has neither loss nor mean IoU" in refused(capsys, ["curves", "empty"])
    (here / "empty" / "metrics.csv").write_text("epoch,step\n")
    assert "its training has no metrics.csv with values" in refused(capsys, ["curves", "empty"])
    assert not (here / "curves.svg").exists()
