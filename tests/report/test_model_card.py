"""Model cards of pushed weights."""

import json
import os
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import markdown
import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.checkpoints.weights import parameters_digest, read_weights
from vocseg.metrics.bootstrap import ScoreIntervals
from vocseg.metrics.calibration import Calibration
from vocseg.report.load_run import find_scoring_run
from vocseg.report.model_card import Publication, model_card, published_settings
from vocseg.visualization.tables import percent, typographic

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pushed(trained: Path, tested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, card, curves and panels."""
    folder, weights = tmp_path_factory.mktemp("pushed") / "shared", str(trained / "unet_voc.pth")
    words = ["--run", str(tested), "--panels", "--dataset", "me/objects", "--license", "mit"]
    main(["push", "--ckpt_path", weights, "--to", str(folder), *words])
    return folder


def _rows(card: str) -> dict[str, list[str]]:
    """Cells of the tables by the first of their row."""
    rows = [line.strip("|").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip(" *") for cell in row[1:]] for row in rows}


def test_card_has_the_scores_of_the_run(pushed: Path, tested: Path) -> None:
    card, scores = (pushed / "README.md").read_text(), json.loads((tested / "scores.json").read_text())
    score, rows = scores["original_resolution"], _rows(card)
    ends = ScoreIntervals.from_dict(score["intervals"]).measures["mean_iou"]
    assert rows["mean IoU"][1] == f"{percent(ends.low)} to {percent(ends.high)}"
    assert rows["mean IoU"][0] == percent(score["mean_iou"])
    assert rows["upper bound of mean IoU"][0] == percent(scores["ceiling"]["mean_iou"])
    error = Calibration.from_dict(scores["calibration"]).error
    assert rows["expected calibration error"][0] == percent(error)
    assert rows["expected calibration error"][2].startswith("mean confidence ")
    assert rows["data fingerprint"] == [score["protocol"]["fingerprint"]]
    for name, iou in zip(score["classes"], score["class_iou"], strict=True):
        assert rows[name][0] == typographic(percent(iou))
    assert "No run of `test`" not in card


def test_front_matter_loads_in_huggingface_hub(pushed: Path, tested: Path) -> None:
    data = ModelCard.load(pushed / "README.md").data
    scores = json.loads((tested / "scores.json").read_text())["original_resolution"]
    assert (data.library_name, data.pipeline_tag) == ("segmentation-models-pytorch", "image-segmentation")
    assert (data.datasets, data.license) == (["me/objects"], "mit")
    found = {each.metric_type: each for each in data.eval_results or []}
    assert found["mean_iou"].metric_value == round(scores["mean_iou"], 4)
    assert found["accuracy"].metric_value == round(scores["pixel_accuracy"], 4)
    assert (found["mean_iou"].dataset_type, found["mean_iou"].dataset_split) == ("me/objects", "val")


def test_card_without_score_names_the_command(trained: Path, here: Path, capsys: Capture) -> None:
    shutil.copy(trained / "unet_voc.pth", here)
    main(["push", "--ckpt_path", str(here / "unet_voc.pth"), "--to", "shared"])
    card = Path("shared/README.md").read_text()
    plain = ModelCard(card).data.to_dict()
    assert not {"license", "datasets"} & plain.keys()  # nor is a data set guessed
    command = "python -m vocseg test --ckpt_path"
    assert "No run of `test` was found for these weights" in card
    assert f"`{command} unet_voc.pth`" in card
    assert f"`{command} {here / 'unet_voc.pth'}`" in capsys.readouterr().out
    best = read_weights(trained / "unet_voc.pth").description["score"]
    assert _rows(card)["mean IoU"][0] == percent(best["mean_iou"])
    assert "The run that trained these weights was not found" in card
    assert not Path("shared/curves.svg").exists()


def test_card_has_curves_and_settings_that_fit_takes(
    pushed: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    card = (pushed / "README.md").read_text()
    assert (pushed / "curves.svg").read_text().startswith("<svg")
    assert "](curves.svg)" in card
    recipe = re.search(r"```yaml\n(.*?)```", card, re.DOTALL)
    assert recipe is not None
    Path("recipe.yaml").write_text(recipe[1])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["fit", "--config", "recipe.yaml", "--print_config"])
    taken = yaml.safe_load(capsys.readouterr().out)
    wanted = yaml.safe_load((trained / "config.yaml").read_text())
    wanted["data"]["root"] = taken["data"]["root"]
    for group in ("seed_everything", "model", "data", "weight_averaging"):
        assert taken[group] == wanted[group]
    assert taken["trainer"]["max_epochs"] == 2


def test_card_has_no_path_of_the_machine(pushed: Path, trained: Path, tested: Path, sample: Path) -> None:
    card = (pushed / "README.md").read_text()
    for path in (trained.parent, tested.parent, sample.parent, Path.home(), Path("/tmp")):
        assert str(path) not in card


def test_settings_omit_paths_and_machine() -> None:
    settings = {
        "seed_everything": 7,
        "model": {"encoder_weights": "/home/me/resnet34.pth", "loss": {"dice": 1.0}, "performance": {}},
        "data": {"root": "/home/me", "num_workers": 3, "mask_folder": "a/b"},
        "trainer": {"max_epochs": 20, "devices": 2, "callbacks": [{"init_args": {"file": "~/a.txt"}}]},
        "ckpt_path": "/home/me/unet_voc.pth",
    }
    assert published_settings(settings) == {
        "seed_everything": 7,
        "model": {"encoder_weights": "resnet34.pth", "loss": {"dice": 1.0}},
        "data": {"mask_folder": "a/b"},
        "trainer": {"max_epochs": 20, "callbacks": [{"init_args": {"file": "a.txt"}}]},
    }


def test_newest_run_of_same_parameters_is_found(trained: Path, tested: Path, here: Path) -> None:
    """Wherever the weights were copied to, and whichever file of the run has them."""
    digests = [
        parameters_digest(read_weights(trained / name).state_dict) for name in ("unet_voc.pth", "best.ckpt")
    ]
    assert digests[0] == digests[1]
    shutil.copy(trained / "unet_voc.pth", here / "copy.pth")
    assert find_scoring_run(Path("copy.pth"), digests[0]) is None
    scores = json.loads((tested / "scores.json").read_text())
    other = {**scores, "weights": {**scores["weights"], "parameters": "0"}}
    plain = {key: value for key, value in scores.items() if key != "original_resolution"}  # of `validate`
    kinds = {"test/version_0": scores, "test/version_1": scores, "test/version_2": other, "a/b": plain}
    for k, (name, content) in enumerate({**kinds, "test/version_3": "damaged"}.items()):
        file = here / "lightning_logs" / name / "scores.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))
        os.utime(file, (k, k))
    assert find_scoring_run(Path("copy.pth"), digests[0]) == Path("lightning_logs/test/version_1")


def test_run_of_other_weights_raises(trained: Path, tested: Path, here: Path, capsys: Capture) -> None:
    """A card never has the score of another network."""
    words = ["push", "--ckpt_path", str(trained / "last.ckpt"), "--to", "shared", "--run"]
    other = here / "other"
    other.mkdir()
    scores = json.loads((tested / "scores.json").read_text())
    scores["weights"]["parameters"] = "0" * 32
    (other / "scores.json").write_text(json.dumps(scores))
    for run in (other, trained):
        assert "has no score of these weights by `test`" in refused(capsys, [*words, str(run)])
    assert "is not a run" in refused(capsys, [*words, "nothing"])
    assert not Path("shared").exists()


def test_panels_are_written_only_with_flag(
    pushed: Path, trained: Path, tested: Path, here: Path, capsys: Capture
) -> None:
    assert "](panels.png)" in (pushed / "README.md").read_text()
    with Image.open(pushed / "panels.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[1] == 1024
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000
    shutil.copytree(pushed, "again")
    words = ["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to"]
    main([*words, "./again", "--run", str(tested)])
    assert "panels" not in Path("again/README.md").read_text()
    assert not Path("again/panels.png").exists()
    said = refused(capsys, [*words, "b", "--panels"])
    assert "--panels true needs a run of `test` that saved its predictions" in said
    assert not Path("b").exists()


def test_card_python_gives_mask_of_load(pushed: Path, sample: Path, here: Path) -> None:
    shutil.copy(next((sample / "VOCdevkit/VOC2012/JPEGImages").iterdir()), "photo.jpg")
    names: dict[str, Any] = {}
    card = (pushed / "README.md").read_text().replace("FOLDER", str(pushed))
    use, plain = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(use, names)
    own = names["model"]("photo.jpg").logits.argmax(0)
    exec(plain, names)
    assert (names["mask"] == own).float().mean() > 0.8  # Pillow's resize is not that of vocseg
    assert Path("overlay.png").is_file()


def test_markup_names_are_escaped_in_card(trained: Path) -> None:
    names = ["a | b", "<script>x</script>", "*b* [c](d) `e`", "# f\ng", "$1$ ~h~ &amp;"]
    about = read_weights(trained / "unet_voc.pth").description | {"classes": names}
    about["score"] = {**about["score"], "classes": names, "class_iou": [0.5] * 5}
    files = model_card(about, Path("a`b.pth"), None, Publication("FOLDER"))
    html = markdown.markdown(files["README.md"].decode().split("\n---\n")[1], extensions=["tables"])
    cells = re.findall(r"<td>([^\n]*)</td>\n<td[^>]*>50.0</td>", html)
    assert len(cells) == 5
    assert [unescape(cell) for cell in cells] == [*names[:3], "# f\\ng", names[4]]
