"""Command `curves`."""

import shutil
from itertools import pairwise
from math import dist
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.report.curves import _dashes

Capture = pytest.CaptureFixture[str]
SVG = "{http://www.w3.org/2000/svg}"


def _svg(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_text())


def _lines(svg: ElementTree.Element) -> list[ElementTree.Element]:
    """The curves, without the legend's pieces of two points on one height."""
    lines = [each for each in svg.iter(f"{SVG}polyline") if each.get("stroke-width") == "2"]
    places = [[point.split(",") for point in str(each.get("points")).split()] for each in lines]
    return [line for line, ((_, y), *_, (_, end)) in zip(lines, places, strict=True) if y != end]


def _texts(svg: ElementTree.Element) -> list[str]:
    return [str(each.text) for each in svg.iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with curves of 30 epochs."""
    folder = tmp_path_factory.mktemp("logged") / "fit" / "version_0"
    folder.mkdir(parents=True)
    rows = "".join(f"{k},{9 * k},{2 / (k + 1)},{2.2 / (k + 1)},{k / 40},{k / 50}\n" for k in range(30))
    (folder / "metrics.csv").write_text("epoch,step,loss/train,loss/val,miou/train,miou/val\n" + rows)
    (folder / "config.yaml").write_text("seed_everything: 1\n")
    return folder


def test_curves_of_a_run_are_drawn_as_svg_and_png(trained: Path, here: Path, capsys: Capture) -> None:
    main(["curves", str(trained)])
    assert capsys.readouterr().out == "wrote curves.png\n"
    with Image.open("curves.png") as picture:
        assert picture.width == 3 * 780
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        pixels = np.asarray(picture)
    for colour in ((11, 92, 173), (184, 72, 11)):  # val, train
        for half in np.split(pixels, 2, axis=1):
            assert 500 < (half == colour).all(2).sum() < half.size / 60
    main(["curves", str(trained), "--output", "curves.svg"])
    svg = _svg(here / "curves.svg")
    assert {"loss", "mean IoU, %", "epoch", "train", "val"} < set(_texts(svg))


def test_curve_points_equal_logged_values(logged: Path, here: Path) -> None:
    main(["curves", str(logged), "--output", "curves.svg"])
    svg = _svg(here / "curves.svg")
    lines = _lines(svg)
    assert [bool(line.get("stroke-dasharray")) for line in lines] == [True, False, True, False]
    x, y = np.array([point.split(",") for point in str(lines[-1].get("points")).split()], float).T
    assert len(x) == 30
    assert np.diff(x) == pytest.approx(np.diff(x).mean(), abs=0.11)
    assert np.diff(y) == pytest.approx(np.diff(y).mean(), abs=0.11)
    assert "best mean IoU of val: epoch 30" in _texts(svg)


def test_several_runs_share_the_charts(trained: Path, tested: Path, logged: Path, here: Path) -> None:
    """A scored run stands for the training of its weights."""
    main(["curves", str(logged), str(tested), "--output", "both.svg"])
    svg = _svg(here / "both.svg")
    lines = _lines(svg)
    assert len(lines) == 8
    assert len({line.get("stroke") for line in lines}) == 2
    assert {"fit/version_0", "test/version_0", "train", "val"} < set(_texts(svg))
    main(["curves", str(logged), str(trained), "--output", "both.svg"])  # equal ends of the paths
    names = ["/".join(logged.parts[-3:]), "/".join(trained.parts[-3:])]
    assert {*names} < set(_texts(_svg(here / "both.svg")))


def test_labels_are_unique_and_escaped(logged: Path, here: Path) -> None:
    other = here / "other"
    shutil.copytree(logged, other)
    names = ["Adam & <b>", "Adam & <b>"]
    main(["curves", str(logged), str(other), "--output", "a.svg", *(f"--labels={name}" for name in names)])
    assert {"Adam & <b>", "Adam & <b> (1)"} < set(_texts(_svg(here / "a.svg")))


def test_dashes_have_their_length_along_a_polyline() -> None:
    pieces = list(_dashes([(0, 0), (3, 0), (3, 20)]))
    lengths = [sum(dist(*pair) for pair in pairwise(piece)) for piece in pieces]
    assert lengths == pytest.approx([6, 6, 3])
    assert pieces[0] == [(0, 0), (3, 0), (3, 3)]


def test_invalid_curves_arguments_raise(logged: Path, here: Path, capsys: Capture) -> None:
    assert "curves draws 1 to 6 runs, got 7" in refused(capsys, ["curves", *[str(logged)] * 7])
    assert "the file is a .png or .svg" in refused(capsys, ["curves", str(logged), "--output", "a.pdf"])
    assert "there is no such run" in refused(capsys, ["curves", "nothing"])
    assert "2 names for 1 runs" in refused(capsys, ["curves", str(logged), "--labels=a", "--labels=b"])
    (here / "empty").mkdir()
    shutil.copy(logged / "config.yaml", "empty")
    (here / "empty" / "metrics.csv").write_text("epoch,step,lr-Adam\n0,0,1\n")
    assert "has neither loss nor mean IoU" in refused(capsys, ["curves", "empty"])
    (here / "empty" / "metrics.csv").write_text("epoch,step\n")
    assert "its training has no metrics.csv with values" in refused(capsys, ["curves", "empty"])
    assert not (here / "curves.png").exists()
