"""A run that is stopped at any of its hooks, or restarted elsewhere, resumes bitwise identically."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.trainer import call

from tests.checkpoints.chains import STOPPING, differences, look, words
from vocseg.__main__ import main

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

SETTINGS = {
    # Six batches, an accumulation window over each validation in the middle of an epoch.
    "window": "--data.batch_size 3 --trainer.accumulate_grad_batches 2 --weight_averaging.kind swa "
    "--trainer.val_check_interval 0.5 --model.optimizer adamw --model.lr_scheduler poly",
    # Five batches, validations after 2 and 4 of them, one unvalidated at the end.
    "odd": "--trainer.val_check_interval 2 --trainer.log_every_n_steps 1 --image_panels.num_images 1 "
    "--model.lr_scheduler plateau --trainer.num_sanity_val_steps 0 --config top_k",
    # Several validations after one step, of which `ModelCheckpoint` saves the first.
    "repeated": "--trainer.val_check_interval 0.2 --trainer.accumulate_grad_batches 3 --config top_k "
    "--trainer.callbacks.save_top_k=-1",
    # The second epoch has no validation; training stops at a step, not at an epoch.
    "sparse": "--trainer.check_val_every_n_epoch 2 --trainer.max_steps 12 --trainer.max_epochs 4 "
    "--weight_averaging.kind ema",
    # Early stopping is due before the least number of epochs.
    "early": f"--trainer.callbacks+={STOPPING} --trainer.callbacks.monitor=loss/val "
    "--trainer.callbacks.min_delta=10 --trainer.callbacks.patience=1 --trainer.min_epochs=3 "
    "--trainer.max_epochs 5 --trainer.log_every_n_steps 3 --trainer.limit_val_batches 1",
}
STOPS = [  # setting, hook, epoch, which of its calls in that epoch; signal or kill
    ("window", "on_validation_batch_start", 1, 1, signal.SIGTERM),
    ("window", "on_validation_end", 1, 1, signal.SIGUSR1),
    ("window", "on_train_batch_start", 1, 4, signal.SIGTERM),
    ("odd", "on_train_batch_start", 0, 5, signal.SIGTERM),
    ("odd", "on_train_batch_start", 1, 3, signal.SIGINT),
    ("odd", "on_validation_batch_start", 1, 3, signal.SIGTERM),
    ("repeated", "on_train_epoch_start", 1, 1, signal.SIGTERM),
    ("sparse", "on_train_batch_start", 2, 1, signal.SIGTERM),
    ("sparse", "on_train_epoch_start", 2, 1, signal.SIGTERM),
    ("early", "on_train_batch_start", 2, 3, signal.SIGTERM),
]


def _flags(sample: Path, root: Path, setting: str) -> list[str]:
    short = "--trainer.max_epochs 2 --data.num_workers 0 --last_checkpoint.every_minutes 1e-9"
    return [*words(sample, root), *short.split(), *SETTINGS[setting].split()]


def stop_at_hook(patch: Patch, hook: str, epoch: int, which: int, number: int) -> None:
    """Let the process get a signal at a hook."""
    original, seen = call._call_callback_hooks, []

    def stopping(trainer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == hook and trainer.current_epoch == epoch and not trainer.sanity_checking:
            seen.append(name)
            if len(seen) == which:
                os.kill(os.getpid(), number)
        return original(trainer, name, *args, **kwargs)

    patch.setattr(call, "_call_callback_hooks", stopping)


@pytest.fixture(scope="module")
def undisturbed(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a run of a setting that nobody stops."""
    found: dict[str, Path] = {}

    def of(setting: str) -> Path:
        if setting not in found:
            root = tmp_path_factory.mktemp(setting)
            main(["fit", *_flags(sample, root, setting)])
            found[setting] = root / "lightning_logs/fit/version_0"
        return found[setting]

    return of


@pytest.mark.parametrize(("setting", "hook", "epoch", "which", "number"), STOPS)
def test_run_stopped_at_hook_resumes_identically(
    sample: Path, undisturbed: Any, here: Path, setting: str, hook: str, epoch: int, which: int, number: int
) -> None:
    wanted = look(undisturbed(setting))
    with pytest.MonkeyPatch.context() as patch:
        stop_at_hook(patch, hook, epoch, which, number)
        with pytest.raises(SystemExit) as end:
            main(["fit", *_flags(sample, here, setting)])
    assert end.value.code == 128 + number
    main(["resume", "lightning_logs/fit/version_0"])
    assert differences(look((here / "lightning_logs/fit/version_0").resolve()), wanted) == []


def test_fit_from_early_stopped_checkpoint_trains_more_epochs(
    sample: Path, undisturbed: Any, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = str(undisturbed("early") / "last.ckpt")
    capsys.readouterr()
    main(["fit", *_flags(sample, here, "early"), "--ckpt_path", end, "--trainer.min_epochs", "5"])
    assert " 5/5 " in capsys.readouterr().out
