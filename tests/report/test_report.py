"""Command `report`."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import refused
from tests.report.made_runs import IDS, NAMES, safe, write_data, write_finetuning, write_run
from vocseg.__main__ import main
from vocseg.constants import CLASSES
from vocseg.data.voc import Layout
from vocseg.errors import UserError
from vocseg.metrics.label_errors import load_evidence
from vocseg.report.command import report
from vocseg.report.load_run import read_curves

Capture = pytest.CaptureFixture[str]
SAFE_IDS = tuple(map(safe, IDS))


class Page(HTMLParser):
    """The text and the tags of a page, as a browser's parser sees them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="ascii").replace("<wbr>", ""))  # which no reader sees
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, name: str) -> int:
        return sum(name in (attrs.get("class") or "").split() for _, attrs in self.tags)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_data(tmp_path_factory.mktemp("data"), SAFE_IDS, len(NAMES))


@pytest.fixture(scope="module")
def made(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classes and ids are markup."""
    return write_run(tmp_path_factory.mktemp("runs") / "test" / "version_0", layout, SAFE_IDS, NAMES)


@pytest.fixture(scope="module")
def page(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page about it."""
    return report([str(made)], tmp_path_factory.mktemp("page") / "report.html")


def test_scored_run_has_all_sections_and_curves(
    tested: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    main(["report", str(tested)])
    assert "wrote report.html" in capsys.readouterr().out
    page, scores = Page(here / "report.html"), json.loads((tested / "scores.json").read_text())
    assert f"{100 * scores['original_resolution']['mean_iou']:.1f}" in page.text
    assert scores["original_resolution"]["protocol"]["fingerprint"] in page.text
    assert str(trained / "unet_voc.pth") in page.text
    assert [page.count(name) for name in ("chart", "confusion", "stack")] == [2, 1, 1]
    assert sum("data-n" in attrs for _, attrs in page.tags) == 21 * 21
    assert sum(tag == "img" for tag, _ in page.tags) % 4 == 0
    assert page.count("card") >= 7
    assert scores["original_resolution"]["intervals"]["warning"] in page.text  # seven images of 21 classes
    assert {path.name for path in here.iterdir()} == {"report.html"}


def test_markup_names_are_escaped(page: Path) -> None:
    shown = Page(page)
    assert sum(tag == "script" for tag, _ in shown.tags) == 1
    assert not [attrs for _, attrs in shown.tags if any(name.startswith("on") for name in attrs)]
    links = [str(attrs[key]) for _, attrs in shown.tags for key in ("src", "href") if key in attrs]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "url(" not in page.read_text()
    for name in (*NAMES[2:], *SAFE_IDS[-2:]):
        assert re.sub(r"\s+", " ", name) in shown.text


def test_page_metrics_equal_scores_json(made: Path, page: Path) -> None:
    shown, scores = Page(page), json.loads((made / "scores.json").read_text())
    near, network = (
        "{estimate:.1f} % [{low:.1f}, {high:.1f}]".format(**{k: 100 * v for k, v in each.items()})
        for each in (
            scores["original_resolution"]["intervals"]["trimap_mean_iou"],
            scores["input_resolution"]["intervals"]["mean_iou"],
        )
    )
    for words in (
        f"trimap mean IoU (5 px) {near}",
        f"mean IoU at input resolution {network}",
        "upper bound of mean IoU 100.0 %",
        "10.0 % expected calibration error",
        "Mean confidence 84.0 %, accuracy 74.0 %.",
        "confidence 27 to 33 %: mean confidence 30.0 %, accuracy 20.0 %, 10.0 % of the pixels",
        "sliding windows none: images are resized",
        "test-time augmentation none",
    ):
        assert words in shown.text
    rects = [attrs for tag, attrs in shown.tags if tag == "rect"]
    heights = [float(k["height"] or 0) for k in rects if (k["class"] or "").split()[0] in ("bar", "gap")]
    assert heights == pytest.approx([20, 10, 80, 10])
    budget = re.search(r'<div class="stack".*?</div>', page.read_text(), re.DOTALL)
    assert budget is not None
    assert sum(map(float, re.findall(r"--v:([\d.e-]+)", budget[0]))) == pytest.approx(1)


def test_finetuned_run_shows_comparison(here: Path) -> None:
    run = write_finetuning(here / "finetune", SAFE_IDS, NAMES)
    main(["report", str(run), "--images", "2"])
    page, scores = Page(here / "report.html"), json.loads((run / "scores.json").read_text())
    assert "after is clearly better than before: mean IoU +" in page.text
    assert "Pass several seeds" not in page.text
    for name in ("before", "after"):
        assert f"{100 * scores[name]['mean_iou']:.1f}" in page.text
    change = scores["comparison"]["class_iou"][NAMES[1]]
    estimate, low, high = (f"{100 * value:+.1f}" for value in change["difference"].values())
    assert f"{estimate} \u25b2 [{low}, {high}]" in page.text
    assert page.text.count("mIoU of the image: before ") == 2
    assert "There are no predictions" in page.text


def test_incomparable_runs_are_shown_with_reason(
    layout: Layout, made: Path, here: Path, capsys: Capture
) -> None:
    flip = write_run(here / "flip", layout, SAFE_IDS, NAMES, ways={"tta": "flip", "windows": "stride 0.5"})
    few = write_run(here / "few", layout, SAFE_IDS[:7], NAMES)
    other = write_run(here / "other", layout, SAFE_IDS, NAMES, seed=1)
    main(["report", *map(str, (made, flip, few, other)), "--images", "1"])
    page, said = Page(here / "report.html"), capsys.readouterr().out
    for reason in ("tta differs (None and 'flip')", "images differs (20 and 7)"):
        assert reason in page.text
        assert reason in said
    assert page.count("run") == 4
    assert page.count("compare") == 1
    assert "D is clearly worse than A: mean IoU -" in page.text
    assert page.text.count("prediction of A") == 1
    assert page.count("confusion") == 4
    assert page.count("more") == 3
    assert "Details of run B: protocol, classes" in page.text
    assert "predicted in 256x256 windows, stride 0.5; tta: flip" in page.text
    main(["report", str(made), str(flip), "--images", "1", "--allow_different", "[tta,windows]"])
    asked = Page(here / "report.html")
    assert asked.count("compare") == 1
    assert (
        "B scored val, 20 images at original resolution (predicted in 256x256 windows, stride 0.5; tta: flip)"
        in asked.text
    )


def test_fit_run_shows_curves_and_missing_parts(sample: Path, trained: Path, here: Path) -> None:
    main(["report", str(trained), "--output", "out/fit.html"])
    page = Page(here / "out" / "fit.html")
    assert page.count("chart") == 2
    assert page.count("confusion") == page.count("card") == 0
    assert "There are no per-image scores" in page.text
    command = f"python -m vocseg test --ckpt_path {trained / 'unet_voc.pth'} --data.root {sample}"
    assert command in page.text
    assert "over 2 epochs" in str([attrs.get("aria-label") for _, attrs in page.tags])
    assert all(name in page.text for name in CLASSES)


def test_moved_data_is_found_with_root_flag(made: Path, layout: Layout, here: Path) -> None:
    shutil.copytree(made, here / "run")
    shutil.copytree(layout.folder, here / "moved" / "VOC2012")
    evidence = load_evidence(here / "run")
    assert evidence is not None
    replace(evidence, origin=replace(evidence.origin, folder=str(here / "gone"))).save(here / "run")
    main(["report", "run"])
    assert "could not be shown" in Page(here / "report.html").text
    assert not any(tag == "img" for tag, _ in Page(here / "report.html").tags)
    main(["report", "run", "--root", "moved"])
    assert "could not be shown" not in Page(here / "report.html").text
    assert any(tag == "img" for tag, _ in Page(here / "report.html").tags)


def test_unreadable_predictions_are_reported_and_missing_ones_left_out(made: Path, here: Path) -> None:
    shutil.copytree(made, here / "run")
    for path in (here / "run" / "predictions").iterdir():
        path.write_bytes(b"no picture")
    main(["report", "run"])
    assert "20 images could not be shown" in Page(here / "report.html").text
    (here / "run" / "label_errors.npz").unlink()
    main(["report", "run"])
    page = Page(here / "report.html")
    assert "There are no predictions" in page.text
    assert page.count("card") == 20  # 8 of the worst, 4, 8
    assert not any(tag == "img" for tag, _ in page.tags)


def test_page_of_two_runs_stays_below_8_megabytes(here: Path) -> None:
    ids = tuple(f"2009_{k:06d}" for k in range(60))
    layout = write_data(here / "data", ids, 21)
    runs = [write_run(here / name, layout, ids, CLASSES, seed) for seed, name in enumerate("ab")]
    page = report(list(map(str, runs)))
    assert page.stat().st_size < 8e6
    assert Page(page).count("card") == 8 * 9


REFUSED = {
    "no such run": (["gone"], ["gone: there is no run 'gone'"]),
    "no run": (["empty"], ["empty is not a run", "lightning_logs/test/version_0"]),
    "damaged scores": (["bad"], ["bad/scores.json is damaged"]),
    "no data there": (["RUN", "--root", "empty"], ["--root empty: no data set below it"]),
    "too many images": (["RUN", "--images", "99"], ["--images 99: must be 0 to 24"]),
    "a folder as page": (["RUN", "--output", "empty"], ["empty cannot be written"]),
    "no place for the page": (["RUN", "--output", "x.txt/r.html"], ["x.txt/r.html cannot be written"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_report_arguments_raise(made: Path, here: Path, capsys: Capture, name: str) -> None:
    for folder in ("empty", "bad"):
        (here / folder).mkdir()
    (here / "x.txt").write_text("x")
    (here / "bad" / "scores.json").write_text("{")
    words, parts = REFUSED[name]
    said = refused(capsys, ["report", *(str(made) if word == "RUN" else word for word in words)])
    assert said.count("\n") == 1
    assert all(part in said for part in parts), said
    assert not (here / "report.html").exists()


def _csv(folder: Path, text: str) -> Path:
    (folder / "metrics.csv").write_text(text)
    return folder / "metrics.csv"


@pytest.mark.parametrize(
    ("rows", "points"),
    [
        ("0,2,.1\n0,5,.2\n1,8,.3\n1,11,.4\n", ((0.5, 0.1), (1.0, 0.2), (1.5, 0.3), (2.0, 0.4))),
        ("0,0,.1\n0,5,.2\n1,11,.4\n", ((0.0, 0.1), (1.0, 0.2), (2.0, 0.4))),  # before fine-tuning: step 0
    ],
)
def test_validations_within_and_before_an_epoch_have_their_place(
    tmp_path: Path, rows: str, points: tuple[tuple[float, float], ...]
) -> None:
    curves = read_curves(_csv(tmp_path, "epoch,step,miou/val\n" + rows))
    assert curves is not None
    assert curves.series["miou/val"] == points


def test_curves_without_column_raise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics.csv is damaged \(KeyError\('epoch'\)\)"):
        read_curves(_csv(tmp_path, "other,step,miou/val\n0,2,.1\n"))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", '{"input_resolution": {"mean_iou": 0.4}}'])
def test_invalid_scores_json_raises(tmp_path: Path, capsys: Capture, text: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    assert "scores.json is damaged. Score the weights again" in refused(capsys, ["report", str(tmp_path)])
