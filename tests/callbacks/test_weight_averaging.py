"""Averaged weights: what is averaged when, and that the average is what is scored and kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import TINY, refused, tiny
from vocseg.__main__ import main
from vocseg.callbacks.weight_averaging import WeightAverager
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]


def _weights(seen: list[torch.Tensor], flags: list[str], sample: Path) -> Path:
    """Run two epochs, and note one weight after every step."""
    original = WeightAverager.on_train_batch_end

    def noting(self: WeightAverager, trainer: Any, module: Any, *rest: Any) -> None:
        seen.append(_first(module.state_dict()).clone())
        original(self, trainer, module, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightAverager, "on_train_batch_end", noting)
        main(
            ["fit", *tiny(sample), "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3", *flags]
        )
    return Path("lightning_logs/fit/version_0")


def _first(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return next(value for key, value in state.items() if key.endswith("weight"))


def _read(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True))


def test_ema_equals_moving_average_over_steps(sample: Path, here: Path) -> None:
    seen: list[torch.Tensor] = []
    run = _weights(seen, ["--weight_averaging.kind", "ema", "--weight_averaging.decay", "0.5"], sample)
    average = seen[0]
    for number, value in enumerate(seen[1:], 1):
        rate = 1 - min(0.5, (1 + number) / (10 + number))
        average = average + (value - average) * rate
    last = _read(run / "last.ckpt")
    torch.testing.assert_close(_first(last["state_dict"]), average, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(_first(last["current_model_state"]), seen[-1], rtol=0, atol=0)


def test_swa_equals_mean_of_last_epochs(sample: Path, here: Path) -> None:
    seen: list[torch.Tensor] = []
    run = _weights(seen, ["--weight_averaging.kind", "swa", "--weight_averaging.swa_start", "0.5"], sample)
    torch.testing.assert_close(_first(_read(run / "last.ckpt")["state_dict"]), seen[-1], rtol=0, atol=0)
    seen = []
    (here / "all").mkdir()
    flags = [
        "--weight_averaging.kind",
        "swa",
        "--weight_averaging.swa_start",
        "0",
        "--trainer.default_root_dir",
        "all",
    ]
    _weights(seen, flags, sample)
    ends = torch.stack([seen[len(seen) // 2 - 1], seen[-1]])
    kept = _read(here / "all/lightning_logs/fit/version_0/last.ckpt")["state_dict"]
    torch.testing.assert_close(_first(kept), ends.mean(0), rtol=1e-5, atol=1e-7)


def test_averaged_weights_are_scored_and_saved(sample: Path, here: Path, capsys: Capture) -> None:
    """The best epoch's score comes out again when its file is scored."""
    run = _weights([], ["--weight_averaging.kind", "ema", "--weight_averaging.decay", "0.9"], sample)
    capsys.readouterr()
    cli = main(["validate", *tiny(sample), "--ckpt_path", str(run / "unet_voc.pth")])
    best = _read(run / "best.ckpt")["callbacks"]["BestWeights"]["value"]
    assert float(cli.trainer.callback_metrics["miou/val"]) == pytest.approx(best, abs=1e-6)


def test_swa_without_max_epochs_raises(sample: Path, here: Path, capsys: Capture) -> None:
    words = ["fit", *tiny(sample), "--weight_averaging.kind", "swa", "--trainer.max_epochs", "-1"]
    assert "--weight_averaging.kind swa" in refused(capsys, [*words, "--trainer.max_steps", "3"])


def test_average_is_on_the_training_device_and_reads_no_value() -> None:
    """Meta tensors, which stand for a GPU's, have none, so that whoever asks for one fails."""
    device = torch.device("meta")
    average, module = (
        WeightAverager("ema"),
        SegmentationModule(encoder=TINY),
    )  # Lightning moves it after `setup`
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=device), current_epoch=0)
    average.setup(trainer, module, "fit")
    assert average._average_model is not None
    kept = average._average_model.module
    assert {each.device for each in (*kept.parameters(), *kept.buffers())} == {device}
    module.to(device)
    for step in range(1, 4):
        trainer.global_step, trainer.max_epochs = step, 1
        average.on_train_batch_end(trainer, module, None, None, step - 1)
    assert average._averaged == 3
