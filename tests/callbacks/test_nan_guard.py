"""Numbers that are none are planted into real runs: they stop, and nothing good is written over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.callbacks.nan_guard import NanGuard
from vocseg.checkpoints.weights import load_weights
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]
Plant = Callable[[SegmentationModule, Any], Any]

SHORT = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]
SHORT += [
    "--trainer.num_sanity_val_steps",
    "0",
    "--trainer.max_epochs",
    "2",
    "--image_panels.num_images",
    "0",
]
PLANTED_AT = 3  # of steps counted from 0: the second of the second epoch


def _loss_that_is_infinite_with_a_finite_gradient(module: SegmentationModule, output: Any) -> None:
    output["loss"] = output["loss"] + float("inf")


def _gradient(module: SegmentationModule, output: Any) -> None:
    output["loss"].register_hook(lambda gradient: gradient * float("nan"))


def _rate(module: SegmentationModule, output: Any) -> None:
    module.trainer.optimizers[0].param_groups[0]["lr"] = float("nan")


PLANTS: dict[str, tuple[Plant, str]] = {
    "loss": (_loss_that_is_infinite_with_a_finite_gradient, "the loss is inf"),
    "gradient": (_gradient, "the gradients are not finite"),
    "learning rate": (_rate, "the learning rate is not finite"),
}


class _Planted:
    """Plants at one step, and remembers the module and its weights before that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plant: Plant) -> None:
        self.steps, self.before, self.images = 0, {}, []
        step = SegmentationModule.training_step

        def planted(module: SegmentationModule, batch: Any, batch_idx: int) -> Any:
            output = step(module, batch, batch_idx)
            if self.steps == PLANTED_AT:
                state = module.named_parameters()
                self.before = {name: value.detach().clone() for name, value in state}
                self.images, self.module = batch["index"].tolist(), module
                plant(module, output)
            self.steps += 1
            return output

        monkeypatch.setattr(SegmentationModule, "training_step", planted)


@pytest.mark.parametrize("name", PLANTS)
def test_non_finite_step_raises_with_position(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plant, words = PLANTS[name]
    planted = _Planted(monkeypatch, plant)
    said = refused(capsys, ["fit", *tiny(sample), *SHORT])
    assert said.startswith(f"vocseg: {words} at step 4 (epoch 2, learning rate ")
    for index in planted.images:
        assert f"2007_{index + 1:06}" in said
    assert "last.ckpt has the last valid state. Lower --model.lr" in said
    assert said.count("\n") == 1
    assert planted.steps == PLANTED_AT + 1
    for key, value in planted.module.named_parameters():
        assert torch.equal(value, planted.before[key])
    _check_kept(here, epoch=1)


def _check_kept(here: Path, epoch: int, best: bool = True) -> None:
    """What an earlier epoch left is still there, whole and finite."""
    run = here / "lightning_logs/fit/version_0"
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == epoch  # epochs done
    for name in ("last.ckpt", "best.ckpt", "unet_voc.pth") if best else ("last.ckpt",):
        module = SegmentationModule(encoder="tu-test_resnet.r160_in1k")
        load_weights(module, run / name)
        assert all(value.isfinite().all() for value in module.state_dict().values())


def test_non_finite_weights_are_not_saved(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are spoilt after the last look at a step, and validation is left out: saving itself notices."""
    end = SegmentationModule.on_train_epoch_end

    def spoil(module: SegmentationModule) -> None:
        end(module)
        if module.current_epoch == 1:
            with torch.no_grad():
                next(module.parameters())[0] = float("inf")

    monkeypatch.setattr(SegmentationModule, "on_train_epoch_end", spoil)
    said = refused(capsys, ["fit", *tiny(sample), *SHORT, "--trainer.check_val_every_n_epoch", "5"])
    assert "weights are not finite at step 4 and are not saved" in said
    _check_kept(here, epoch=1, best=False)


def test_validation_with_nan_outputs_raises(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = SegmentationModule.forward

    def blind(module: SegmentationModule, image: torch.Tensor) -> torch.Tensor:
        logits = forward(module, image)
        return logits if module.training else logits * float("nan")

    monkeypatch.setattr(SegmentationModule, "forward", blind)
    said = refused(capsys, ["fit", *tiny(sample), *SHORT])
    assert "the validation loss is nan" in said
    assert not list(here.rglob("*.ckpt")) + list(here.rglob("unet_voc.pth"))


def test_scoring_non_finite_weights_raises(sample: Path, trained: Path, here: Path, capsys: Capture) -> None:
    content = torch.load(trained / "unet_voc.pth", weights_only=True)
    next(iter(content["state_dict"].values()))[0] = float("nan")
    torch.save(content, here / "spoilt.pth")
    words = ["--ckpt_path", "spoilt.pth", "--data.root", str(sample), "--trainer.accelerator", "cpu"]
    for verb in ("test", "validate"):
        said = refused(capsys, [verb, *words, "--trainer.enable_progress_bar", "false"])
        assert "the validation loss is nan, so scores are meaningless" in said
    assert not list(here.rglob("scores.json"))


def test_nan_guard_does_not_change_training(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["fit", *tiny(sample), *SHORT, "--trainer.max_epochs", "1"]
    main(words)
    monkeypatch.setattr(NanGuard, "on_before_backward", lambda *_: None)
    monkeypatch.setattr(NanGuard, "on_before_optimizer_step", lambda *_: None)
    main(words)
    one, two = (
        torch.load(here / f"lightning_logs/fit/version_{k}/last.ckpt", weights_only=True)["state_dict"]
        for k in range(2)
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("rate", [".inf", "1e999", ".nan", "-1.0"])
def test_invalid_learning_rate_in_config_file_raises(
    sample: Path, here: Path, capsys: Capture, rate: str
) -> None:
    (here / "mine.yaml").write_text(f"model:\n  lr: {rate}\n")
    said = refused(capsys, ["fit", *tiny(sample), "--config", "mine.yaml"])
    assert "model.lr" in said
    assert said.count("\n") == 1
