"""Validation of flags and callbacks before anything is built."""

import os
from pathlib import Path

import pytest

from tests.conftest import refused, tiny

Capture = pytest.CaptureFixture[str]

FLAGS: dict[str, tuple[list[str], list[str]]] = {
    "no training batches": (
        ["--trainer.limit_train_batches", "0"],
        ["limit_train_batches 0", "nothing to do"],
    ),
    "no epochs": (["--trainer.max_epochs", "0"], ["max_epochs 0", "nothing to do"]),
    "no steps": (["--trainer.max_steps", "0"], ["max_steps 0", "nothing to do"]),
    "less than a batch": (["--trainer.limit_train_batches", "0.01"], ["limit_train_batches"]),
    "unknown metric": (
        ["--best_weights.monitor", "mIoU"],
        ["--best_weights.monitor mIoU", "miou/val", "loss/val"],
    ),
    "unknown class": (["--best_weights.monitor", "per_class_iou/tiger"], ["per_class_iou/tiger"]),
    "fp16 on a CPU": (["--trainer.precision", "16-mixed"], ["16-mixed needs a GPU", "bf16-mixed"]),
    "no batches to add up": (["--trainer.accumulate_grad_batches", "0"], ["batches 0: give a whole number"]),
    "no epoch to validate after": (["--trainer.check_val_every_n_epoch", "0"], ["epoch 0: give a whole num"]),
    "validation after more than there is": (["--trainer.val_check_interval", "99"], ["`val_check_interval`"]),
    "fewer than no batches": (
        ["--trainer.limit_train_batches", "-2"],
        ["limit_train_batches -2: there is nothing"],
    ),
    "nothing kept": (["--trainer.barebones", "true"], ["barebones=True"]),
    "processes begun otherwise": (["--trainer.strategy", "ddp_spawn"], ["strategy ddp_spawn: ", "Use ddp"]),
    "a way for GPUs": (["--trainer.strategy", "fsdp"], ["`fsdp` requires a GPU"]),
    "CPUs by number": (["--trainer.devices", "[0,1]"], ["should be an int > 0"]),
    "a package that is missing": (["--trainer.accelerator", "tpu"], ["pip install 'torch_xla"]),
    "no GPU": (["--trainer.accelerator", "gpu"], ["No supported gpu backend found"]),
    "folder for runs a file": (
        ["--trainer.default_root_dir", "file"],
        ["default_root_dir file: no folder can be created"],
    ),
    "folder for runs in /proc": (["--trainer.default_root_dir", "/proc/x"], ["default_root_dir /proc/x"]),
}


@pytest.mark.parametrize("name", FLAGS)
def test_flag_that_prevents_run_raises_and_leaves_no_files(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    flags, words = FLAGS[name]
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    (here / "file").write_text("")
    said = refused(capsys, ["fit", *tiny(sample), *flags])
    assert said.startswith("vocseg: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert not list(here.rglob("*.ckpt"))
    if name not in ("less than a batch", "validation after more than there is"):  # the data tell
        assert [path.name for path in here.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("verb", "flag"), [("test", "limit_test_batches"), ("validate", "limit_val_batches")]
)
def test_scoring_zero_batches_raises(
    sample: Path, trained: Path, here: Path, capsys: Capture, verb: str, flag: str
) -> None:
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    assert f"--trainer.{flag} 0" in refused(capsys, [verb, *words, f"--trainer.{flag}", "0"])


def test_fit_of_finished_run_raises(sample: Path, trained: Path, here: Path, capsys: Capture) -> None:
    words = ["fit", *tiny(sample), "--ckpt_path", str(trained / "last.ckpt"), "--trainer.max_epochs", "2"]
    assert "there was no step to train (max_epochs 2" in refused(capsys, words)


CALLBACKS = {
    "EarlyStopping by default": (
        "EarlyStopping",
        "monitor: miou/val",
        "mode min: that metric is best when large",
    ),
    "EarlyStopping on a loss": ("EarlyStopping", "monitor: loss/val, mode: max", "Use `mode: min`"),
    "ModelCheckpoint": ("ModelCheckpoint", "monitor: pixel_accuracy/val, mode: min", "Use `mode: max`"),
    "unknown metric": (
        "EarlyStopping",
        "monitor: val_loss",
        "val_loss: no such metric is logged. Use loss",
    ),
}


def _recipe_with(here: Path, callback: str, arguments: str) -> None:
    (here / "mine.yaml").write_text(
        f"trainer:\n  callbacks:\n    - class_path: {callback}\n      init_args: {{{arguments}}}\n"
    )


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_with_wrong_mode_raises(sample: Path, here: Path, capsys: Capture, name: str) -> None:
    kind, arguments, words = CALLBACKS[name]
    _recipe_with(here, f"lightning.pytorch.callbacks.{kind}", arguments)
    said = refused(capsys, ["fit", *tiny(sample), "--config", "mine.yaml"])
    assert f"vocseg: trainer.callbacks: {kind} with monitor" in said
    assert words in said
    assert not list(here.rglob("version_*"))


INSTEAD = {
    "BackboneFinetuning": ("", "--model.freeze_encoder_epochs"),
    "BatchSizeFinder": ("", "Tuner from Python"),
    "LearningRateFinder": ("", "Tuner from Python"),
    "StochasticWeightAveraging": ("swa_lrs: 0.01", "--weight_averaging.kind swa"),
    "Timer": ("duration: '00:00:10:00'", "--trainer.max_time"),
}


@pytest.mark.parametrize("kind", INSTEAD)
def test_unsupported_lightning_callback_raises_with_replacement(
    sample: Path, here: Path, capsys: Capture, kind: str
) -> None:
    arguments, instead = INSTEAD[kind]
    _recipe_with(here, kind, arguments)
    said = refused(capsys, ["fit", *tiny(sample), "--config", "mine.yaml"])
    assert f"{kind} does not work here" in said
    assert instead in said
    assert not list(here.rglob("version_*"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make itself another user")
def test_unwritable_root_raises(here: Path) -> None:
    """Root may write everywhere: a child process becomes a user who may not."""
    from vocseg.checkpoints.run_dir import create_run_dir
    from vocseg.errors import UserError

    (here / "mine").mkdir(mode=0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir("/")
            os.setuid(65534)
            create_run_dir(here / "mine", "fit")
        except UserError as fault:
            code = 0 if "default_root_dir" in fault.sentence else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
