"""Scorer against the command `test`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vocseg.checkpoints.weights import load_network
from vocseg.commands.compare import compare
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError
from vocseg.metrics.scorer import Scorer
from vocseg.utils.regular_file import as_json

Pairs = list[tuple[str, torch.Tensor, np.ndarray]]


@pytest.fixture(scope="module")
def pairs(sample: Path, trained: Path) -> Pairs:
    """Id, logits `[21,64,64]` and mask at its own size of each validation image."""
    network = load_network(trained / "unet_voc.pth")
    data = VOCDataModule(root=sample, image_size=64, cache=False, verify_files=False)
    data.setup("validate")
    found = []
    for k, id in enumerate(data.ids("val")):
        image = data.parts["val"][k]["image"][None]
        with torch.inference_mode():
            found.append((id, network(image)[0], data.full_mask(k)))
    return found


def _random() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    masks = [random.integers(0, 3, (20 + k, 30)) for k in range(12)]
    return [(np.where(random.random(m.shape) < 0.3, 0, m), m) for m in masks]


@pytest.mark.parametrize("named", [False, True])
def test_scorer_equals_test_bitwise(pairs: Pairs, tested: Path, named: bool) -> None:
    """With ids, the order of the images does not matter."""
    scorer = Scorer()
    for id, logits, mask in reversed(pairs) if named else pairs:
        scorer.update(logits, mask, ids=id if named else None)
    wanted = json.loads((tested / "scores.json").read_text())["original_resolution"]
    found = json.loads(as_json(scorer.compute()))
    protocols = found.pop("protocol"), wanted.pop("protocol")
    assert found == wanted | {"loss": None}
    assert protocols[0]["resolution"] == protocols[1]["resolution"] == "original"
    assert protocols[0]["images"] == protocols[1]["images"] == len(pairs) == len(scorer)


def test_scorer_input_forms_are_equivalent(pairs: Pairs) -> None:
    logits, masks = [p[1] for p in pairs], [p[2] for p in pairs]
    one_by_one, listed, batched, classes = Scorer(), Scorer(), Scorer(), Scorer()
    for one, mask in zip(logits, masks, strict=True):
        one_by_one.update(one, mask)
        shown = torch.nn.functional.interpolate(one[None], mask.shape, mode="bilinear").argmax(1)[0]
        classes.update(shown, torch.from_numpy(mask.astype(np.int64)))
    listed.update(logits, masks)
    batched.update(torch.stack(logits), masks)
    wanted = one_by_one.compute()
    assert listed.compute() == batched.compute() == classes.compute() == wanted


def test_scorer_compare_gives_difference_to_baseline() -> None:
    baseline, better = Scorer(3), Scorer(3)
    for prediction, mask in _random():
        baseline.update(prediction, mask)
        better.update(np.where(np.arange(30) < 15, mask, prediction), mask)
    found = better.compare(baseline).measures["mean_iou"]
    assert found.before == baseline.compute()["mean_iou"]
    assert found.after == better.compute()["mean_iou"]
    assert found.clear
    assert (found.better or 0) > 0.99


def test_scorer_compare_of_different_data_raises() -> None:
    three, longer, other, named = Scorer(3), Scorer(3), Scorer(3), Scorer(["a", "b", "c"])
    for prediction, mask in _random():
        for scorer in (three, longer, named):
            scorer.update(prediction, mask)
        other.update(prediction, np.where(mask == 1, 2, mask))
    longer.update(prediction, mask)
    for scorer in (longer, other):
        with pytest.raises(UserError, match=r"their (fingerprint|images) differs"):
            scorer.compare(three)
    with pytest.raises(UserError, match="classes differs"):
        named.compare(three)


def test_saved_scorer_file_is_read_by_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scorer = Scorer(3)
    scorer.update(*zip(*_random(), strict=True))
    for name in ("a.npz", "b.npz"):
        scorer.image_scores().save(tmp_path / name)
    compare([str(tmp_path / "a.npz"), str(tmp_path / "b.npz")])
    assert "images, 12 images at original resolution (data" in capsys.readouterr().out


def test_ignored_pixels_of_any_value_do_not_count() -> None:
    usual, other = Scorer(3), Scorer(3, ignore_index=-100)
    for prediction, mask in _random():
        hidden = np.arange(30) % 7 == 0
        usual.update(prediction, np.where(hidden, 255, mask).astype(np.uint8))
        other.update(prediction, np.where(hidden, -100, mask))
    assert usual.compute() == other.compute()
    assert np.sum(usual.compute()["matrix"]) == sum((~hidden).sum() * len(m) for _, m in _random())


GOOD = np.zeros((4, 5), np.int64)


@pytest.mark.parametrize(
    ("prediction", "mask", "said"),
    [
        (np.zeros((2, 4, 5), np.float32), GOOD, r"shape \(2, 4, 5\), but there are 3 classes"),
        (np.full((3, 4, 5), np.nan, np.float32), GOOD, "contain NaN"),
        (GOOD, GOOD + 3, "has the value 3, but there are 3 classes"),
        (GOOD, GOOD - 1, "has the value -1"),
        (GOOD, GOOD.astype(np.float32), "float32"),
        (GOOD + 255, GOOD, "has the class 255"),
        (GOOD - 1, GOOD, "has the class -1"),
        (np.zeros((2, 5), np.int64), GOOD, r"shape \(2, 5\), its mask \(4, 5\)"),
        ([GOOD, GOOD], [GOOD], "2 predictions, 1 masks"),
        ([GOOD, GOOD + 7], [GOOD, GOOD], "has the class 7"),
    ],
)
def test_scorer_invalid_input_raises_and_counts_nothing(prediction: Any, mask: Any, said: str) -> None:
    scorer = Scorer(3)
    with pytest.raises(UserError, match=said):
        scorer.update(prediction, mask)
    assert len(scorer) == 0
    with pytest.raises(UserError, match="call `update` first"):
        scorer.compute()


def test_repeated_image_raises_until_reset() -> None:
    scorer = Scorer(3)
    scorer.update(GOOD, GOOD, ids="cat")
    with pytest.raises(UserError, match="'cat' was scored before"):
        scorer.update([GOOD, GOOD], [GOOD, GOOD], ids=["dog", "cat"])
    scorer.reset()
    scorer.update(GOOD, GOOD, ids="cat")
    assert scorer.compute()["pixel_accuracy"] == 1


@pytest.mark.parametrize("classes", [0, 256, [], ["a", "a"], "background"])
def test_invalid_classes_raise(classes: Any) -> None:
    with pytest.raises(UserError, match="1 to 255 different names"):
        Scorer(classes)
