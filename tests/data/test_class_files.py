"""Class lists on the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, refused, tiny
from vocseg.__main__ import main
from vocseg.checkpoints.weights import read_weights

Capture = pytest.CaptureFixture[str]

FIVE = """
classes:
  - background
  - {name: animal, merge: [bird, cat, cow, dog, horse, sheep], colour: [200, 60, 60]}
  - {name: vehicle, merge: [aeroplane, bicycle, boat, bus, car, motorbike, train]}
  - {name: indoors, merge: [bottle, chair, diningtable, pottedplant, sofa, tvmonitor]}
  - person
"""
NAMES = ["background", "animal", "vehicle", "indoors", "person"]


@pytest.fixture(scope="module")
def five(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `five.yaml` and a run of `fit` with it."""
    folder = tmp_path_factory.mktemp("five")
    (folder / "five.yaml").write_text(FIVE)
    words = ["--data.classes", str(folder / "five.yaml"), "--trainer.default_root_dir", str(folder)]
    main(["fit", *tiny(sample), *words])
    return folder


def _weights(five: Path) -> str:
    return str(five / "lightning_logs" / "fit" / "version_0" / "unet_voc.pth")


def test_merged_classes_set_network_and_weights(five: Path) -> None:
    weights = read_weights(Path(_weights(five)))
    assert weights.description["classes"] == NAMES
    assert weights.description["colours"][1] == [200, 60, 60]
    assert weights.state_dict["segmentation_head.0.weight"].shape[0] == 5
    assert weights.description["score"]["classes"] == NAMES
    with (Path(_weights(five)).parent / "metrics.csv").open() as file:
        assert {f"per_class_iou/{name}" for name in NAMES[:2]} <= set(next(csv.reader(file)))


def test_test_with_class_list_reproduces_score(five: Path, sample: Path, here: Path, capsys: Capture) -> None:
    words = ["--ckpt_path", _weights(five), "--data.root", str(sample)]
    main(["test", *words, "--data.classes", str(five / "five.yaml")])
    assert "vehicle" in capsys.readouterr().out
    found = json.loads((here / "lightning_logs/test/version_0/scores.json").read_text())["input_resolution"]
    best = read_weights(Path(_weights(five))).description["score"]
    assert found["mean_iou"] == best["mean_iou"]
    assert found["protocol"] == best["protocol"]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_weights_with_other_class_count_raise(
    five: Path, sample: Path, here: Path, capsys: Capture, verb: str
) -> None:
    words = ["--ckpt_path", _weights(five), "--data.root", str(sample), "--model.encoder", TINY]
    said = refused(capsys, [verb, *words])
    assert "has 5 classes, but the masks have 21" in said
    assert "--data.classes" in said
    assert not list(here.iterdir())


def test_weights_with_other_class_order_raise(five: Path, sample: Path, here: Path, capsys: Capture) -> None:
    text = FIVE.replace("name: animal", "name: x").replace("name: vehicle", "name: animal")
    (here / "other.yaml").write_text(text.replace("name: x", "name: vehicle"))
    words = ["--ckpt_path", _weights(five), "--data.root", str(sample)]
    said = refused(capsys, ["test", *words, "--data.classes", "other.yaml"])
    assert "class 1 is 'animal' there and 'vehicle' here" in said


def test_num_classes_unlike_class_list_raises(five: Path, sample: Path, here: Path, capsys: Capture) -> None:
    words = [*tiny(sample), "--data.classes", str(five / "five.yaml"), "--model.num_classes", "21"]
    assert "--model.num_classes 21: the masks have 5 classes" in refused(capsys, ["fit", *words])


def test_predictions_use_colours_of_weights(five: Path, sample: Path, here: Path) -> None:
    picture = next(sample.rglob("*.jpg"))
    main(["predict", "--ckpt_path", _weights(five), "--data.predict_dir", str(picture)])
    with Image.open(next(here.rglob("masks/*.png"))) as mask:
        assert np.asarray(mask).max() <= 4
        assert mask.getpalette()[3:6] == [200, 60, 60]  # type: ignore[index]
