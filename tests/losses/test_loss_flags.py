"""The loss from the command line: its flags, what they refuse, and runs with them."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.losses.config import LossConfig

Capture = pytest.CaptureFixture[str]

REFUSED = {
    "--model.loss.dice -1": ["--model.loss.dice -1 is out of range", "finite, from 0"],
    "--model.loss.lovasz .inf": ["--model.loss.lovasz inf is out of range"],
    "--model.loss.lovasz much": ["--model.loss.lovasz", "much"],
    "--model.loss.cross_entropy 0": ["every term has weight 0"],
    "--model.loss.dise 1": ["--model.loss.dise", "do you mean --model.loss.dice"],
    "--model.loss.label_smoothing 1": ["label_smoothing 1 is out of range", "below 1"],
    "--model.loss.class_weights even": ["class_weights even", "give balanced, a list"],
    "--model.loss.class_weights [1,2]": ["2 numbers for 21 classes", "each"],
    "--model.loss.class_weights [1,.nan]": ["class_weights [1.0, nan]", "0.000001"],
    "--model.loss.class_weights [1,x]": ["class_weights [1,x]"],
}


@pytest.mark.parametrize("flags", REFUSED)
def test_invalid_loss_flag_raises_before_network_is_built(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, flags: str
) -> None:
    monkeypatch.setattr("vocseg.models.module.build_network", lambda *_: pytest.fail("a network was built"))
    said = refused(capsys, ["fit", *tiny(sample), *flags.split()]).removeprefix("Seed set to 42\n")
    assert said.startswith("vocseg: ")
    assert said.count("\n") == 1
    for word in REFUSED[flags]:
        assert word in said
    assert not list(here.iterdir())


def test_loss_from_printed_config_equals_flags(here: Path, capsys: Capture) -> None:
    (here / "a.yaml").write_text("model:\n  loss: {cross_entropy: 2, lovasz: 0.5}\n")
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", "a.yaml", "--model.loss.dice", "0.5", "--print_config"])
    assert not end.value.code
    (here / "b.yaml").write_text(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["fit", "--config", "b.yaml", "--print_config"])
    said = capsys.readouterr().out
    assert said == (here / "b.yaml").read_text()
    for line in ("cross_entropy: 2.0", "lovasz: 0.5", "dice: 0.5", "class_weights: null"):
        assert f"\n    {line}\n" in said


def test_plain_loss_config_is_text_and_numbers() -> None:
    plain = LossConfig(class_weights=[1, 2.5]).as_plain()
    assert plain["class_weights"] == "1 2.5"
    assert {type(value) for value in plain.values()} == {float, str}
    assert LossConfig().as_plain() != LossConfig(dice=1).as_plain()


LOSS = {"dice": 0.5, "lovasz": 0.25, "class_weights": "balanced"}
FLAGS = ["--model.loss", json.dumps(LOSS)]


@pytest.fixture(scope="module")
def finished(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with every term."""
    root = tmp_path_factory.mktemp("losses")
    main(["fit", *tiny(sample), *FLAGS, "--trainer.default_root_dir", str(root)])
    return root / "lightning_logs/fit/version_0"


def test_resume_with_other_loss_raises(finished: Path, here: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(finished, here / "fit" / "version_0"))
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    checkpoint["vocseg_run"]["finished"] = False
    torch.save(checkpoint, run / "last.ckpt")
    words = ["resume", str(run)]
    said = refused(capsys, [*words, "--model.loss.dice", "0"])
    assert "it was made with loss (dice) 0.5, now it is 0.0" in said
    assert "Set --model.loss back, or accept it with --allow loss" in said
    said = refused(capsys, [*words, "--model.loss.class_weights", "null"])
    assert "loss (class_weights) balanced, now it is None" in said


def test_checkpoint_network_has_no_loss(finished: Path) -> None:
    state = torch.load(finished / "best.ckpt", weights_only=True)
    assert set(state["hyper_parameters"]) >= {"arch", "encoder", "num_classes"}
    assert not [key for key in [*state["hyper_parameters"], *state["state_dict"]] if "loss" in key]


def test_scoring_with_loss_of_run_gives_same_value(
    finished: Path, sample: Path, here: Path, capsys: Capture
) -> None:
    """Balanced weights are those of the training images, although these are not scored."""
    with (finished / "metrics.csv").open() as file:
        of_run = [float(row["loss/val"]) for row in csv.DictReader(file) if row["loss/val"]][-1]
    words = ["--ckpt_path", str(finished / "best.ckpt"), "--data.root", str(sample), "--data.batch_size", "4"]
    main(["test", *words, *FLAGS, "--trainer.accelerator", "cpu", "--original_resolution.on_test", "false"])
    scores = json.loads((here / "lightning_logs/test/version_0/scores.json").read_text())
    assert scores["input_resolution"]["loss"] == pytest.approx(of_run, rel=1e-4)
