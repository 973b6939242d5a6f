"""Model cards of pushed weights."""

import json
import os
import re
import shutil
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import markdown
import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from torch import nn

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.checkpoints.weights import parameters_digest, read_weights, weights_origin
from vocseg.metrics.bootstrap import ScoreIntervals
from vocseg.metrics.calibration import Calibration
from vocseg.report.load_run import find_scoring_run
from vocseg.report.model_card import Publication, model_card, published_settings
from vocseg.visualization.tables import percent, typographic

Capture = pytest.CaptureFixture[str]


def _push(trained: Path, *words: str) -> str:
    main(["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to", "shared", *words])
    return Path("shared/README.md").read_text()


def _rows(card: str) -> dict[str, list[str]]:
    """Cells of the tables by the first of their row."""
    rows = [line.strip("|").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip(" *") for cell in row[1:]] for row in rows}


def test_card_has_the_scores_of_the_run(trained: Path, tested: Path, here: Path, capsys: Capture) -> None:
    card = _push(trained, "--run", str(tested))
    assert f"Model card: score of {tested}" in capsys.readouterr().out
    scores = json.loads((tested / "scores.json").read_text())
    score, rows = scores["original_resolution"], _rows(card)
    ends = ScoreIntervals.from_dict(score["intervals"]).measures["mean_iou"]
    assert rows["mean IoU"][1] == f"{percent(ends.low)} to {percent(ends.high)}"
    assert rows["mean IoU"][0] == percent(score["mean_iou"])
    assert rows["upper bound of mean IoU"][0] == percent(scores["ceiling"]["mean_iou"])
    assert rows["expected calibration error"][0] == percent(
        Calibration.from_dict(scores["calibration"]).error
    )
    assert rows["data fingerprint"] == [score["protocol"]["fingerprint"]]
    for name, iou in zip(score["classes"], score["class_iou"], strict=True):
        assert rows[name][0] == typographic(percent(iou))
    assert rows["expected calibration error"][2].startswith("mean confidence ")
    assert "No run of `test`" not in card


def test_front_matter_loads_in_huggingface_hub(trained: Path, tested: Path, here: Path) -> None:
    _push(trained, "--run", str(tested), "--dataset", "me/objects", "--license", "mit")
    data = ModelCard.load(here / "shared/README.md").data
    scores = json.loads((tested / "scores.json").read_text())["original_resolution"]
    assert (data.library_name, data.pipeline_tag) == ("segmentation-models-pytorch", "image-segmentation")
    assert (data.datasets, data.license) == (["me/objects"], "mit")
    found = {each.metric_type: each for each in data.eval_results or []}
    assert found["mean_iou"].metric_value == round(scores["mean_iou"], 4)
    assert found["accuracy"].metric_value == round(scores["pixel_accuracy"], 4)
    assert (found["mean_iou"].dataset_type, found["mean_iou"].dataset_split) == ("me/objects", "val")
    plain = ModelCard(_push(trained, "--run", str(tested))).data.to_dict()
    assert "license" not in plain  # nor is a data set guessed
    assert "datasets" not in plain


def test_card_without_score_names_the_command(trained: Path, here: Path, capsys: Capture) -> None:
    shutil.copy(trained / "unet_voc.pth", here)
    card = _push(here)
    command = "python -m vocseg test --ckpt_path"
    assert "No run of `test` was found for these weights" in card
    assert f"`{command} unet_voc.pth`" in card
    assert f"`{command} {here / 'unet_voc.pth'}`" in capsys.readouterr().out
    best = read_weights(trained / "unet_voc.pth").description["score"]
    assert _rows(card)["mean IoU"][0] == percent(best["mean_iou"])
    assert "The run that trained these weights was not found" in card
    assert not Path("shared/curves.svg").exists()


def test_card_has_curves_and_settings_that_fit_takes(trained: Path, here: Path, capsys: Capture) -> None:
    card = _push(trained)
    assert Path("shared/curves.svg").read_text().startswith("<svg")
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


def test_card_has_no_path_of_the_machine(trained: Path, tested: Path, sample: Path, here: Path) -> None:
    card = _push(trained, "--run", str(tested), "--panels")
    for path in (trained, tested, sample, here):
        assert str(path.parent) not in card
    assert str(Path.home()) not in card
    assert "/tmp" not in card


def test_settings_omit_paths_and_machine() -> None:
    stop = {"class_path": "EarlyStopping", "init_args": {"monitor": "miou/val", "file": "/home/me/a.txt"}}
    settings = {
        "seed_everything": 7,
        "model": {
            "encoder_weights": "/home/me/resnet34.pth",
            "lr": 1e-4,
            "loss": {"dice": 1.0, "focal": 0.0},
        },
        "data": {"root": "/home/me", "num_workers": 3, "mask_folder": "a/b", "crop_scale": [0.5, 2.0]},
        "trainer": {"max_epochs": 20, "devices": 2, "precision": "bf16-mixed", "callbacks": [stop]},
        "weight_averaging": {"kind": "ema", "decay": 0.999},
        "ckpt_path": "/home/me/unet_voc.pth",
    }
    assert published_settings(settings) == {
        "seed_everything": 7,
        "model": {"encoder_weights": "resnet34.pth", "lr": 1e-4, "loss": {"dice": 1.0, "focal": 0.0}},
        "data": {"mask_folder": "a/b", "crop_scale": [0.5, 2.0]},
        "trainer": {
            "max_epochs": 20,
            "precision": "bf16-mixed",
            "callbacks": [{**stop, "init_args": {"monitor": "miou/val", "file": "a.txt"}}],
        },
        "weight_averaging": {"kind": "ema", "decay": 0.999},
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


def test_parameters_of_exported_file_have_no_digest(here: Path) -> None:
    module = SimpleNamespace(network=nn.Identity(), hparams={})
    assert weights_origin(None, here, module)["parameters"] is None


def test_panels_are_written_only_with_flag(trained: Path, tested: Path, here: Path, capsys: Capture) -> None:
    card = _push(trained, "--run", str(tested), "--panels")
    assert "](panels.png)" in card
    with Image.open("shared/panels.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[1] == 1024
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000
    card = _push(trained, "--run", str(tested))
    assert "panels" not in card
    assert not Path("shared/panels.png").exists()
    said = refused(capsys, ["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to", "b", "--panels"])
    assert "--panels true needs a run of `test` that saved its predictions" in said
    assert not Path("b").exists()


def test_card_python_gives_mask_of_load(trained: Path, sample: Path, here: Path) -> None:
    card = _push(trained)
    shutil.copy(next((sample / "VOCdevkit/VOC2012/JPEGImages").iterdir()), "photo.jpg")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", card.replace("FOLDER", "shared"), re.DOTALL)
    assert len(blocks) == 2
    exec(blocks[0], names)
    own = names["model"]("photo.jpg").logits.argmax(0)
    exec(blocks[1], names)
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
