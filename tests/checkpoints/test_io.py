"""Every way in which Lightning writes or reads a checkpoint is the safe one."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins import AsyncCheckpointIO

from tests.conftest import TINY
from vocseg.checkpoints.weights import read_weights
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule
from vocseg.trainer import Trainer
from vocseg.utils.checksum import verify_zip

ADDRESS = "http://127.0.0.1:9/x.ckpt"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.fixture(autouse=True)
def unsafe_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that turns torch's default into running what is in a file."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


@pytest.fixture
def evil(here: Path) -> Path:
    torch.save({"pytorch-lightning_version": "2.6.0", "callbacks": {"x": Evil()}}, here / "evil.ckpt")
    return here / "evil.ckpt"


def _trainer(**settings: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", max_steps=2, limit_val_batches=0, **{**quiet, **settings})


def test_unsafe_torch_variable_runs_code_of_a_file(evil: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.load(evil)
    assert Path("ran").is_dir()


def test_files_of_a_run_have_checksums(trained: Path) -> None:
    for name in ("best.ckpt", "last.ckpt", "unet_voc.pth"):
        verify_zip(trained / name)
        assert b"vocseg xxh3-128 " in (trained / name).read_bytes()[-60:]
    assert not [name for name in os.listdir(trained) if name.endswith(".part")]


def test_checkpoints_of_lightning_callbacks_are_valid_and_resume(here: Path) -> None:
    keeper = ModelCheckpoint(here, filename="kept", every_n_train_steps=1, save_last=True)
    trainer = _trainer(callbacks=[keeper])
    trainer.fit(BoringModel())
    trainer.save_checkpoint(here / "mine.ckpt")
    trainer.save_checkpoint(here / "weights.ckpt", weights_only=True)
    for name in ("kept.ckpt", "last.ckpt", "mine.ckpt", "weights.ckpt"):
        assert b"vocseg xxh3-128 " in (here / name).read_bytes()[-60:]
    longer = _trainer(callbacks=[ModelCheckpoint(here, filename="kept")])
    longer.fit_loop.epoch_loop.max_steps = 4
    longer.fit(BoringModel(), ckpt_path=here / "mine.ckpt")
    assert longer.global_step == 4


WAYS: dict[str, Callable[[Any], object]] = {
    "fit": lambda path: _trainer(enable_checkpointing=False).fit(BoringModel(), ckpt_path=path),
    "fit of ours": lambda path: _trainer(enable_checkpointing=False).fit(
        SegmentationModule(encoder=TINY), ckpt_path=path
    ),
    "validate": lambda path: _trainer().validate(BoringModel(), ckpt_path=path),
    "test": lambda path: _trainer().test(BoringModel(), ckpt_path=path),
    "predict": lambda path: _trainer().predict(BoringModel(), ckpt_path=path),
    "strategy": lambda path: _trainer().strategy.load_checkpoint(path, weights_only=False),
    "module": lambda path: SegmentationModule.load_from_checkpoint(path, weights_only=False),
    "data module": lambda path: VOCDataModule.load_from_checkpoint(path, weights_only=False),
    "weights": read_weights,
}


@pytest.mark.parametrize("way", WAYS)
def test_code_in_checkpoint_is_not_run(evil: Path, way: str) -> None:
    with pytest.raises(UserError, match=r"evil.ckpt: not a readable file of weights: .*objects or code"):
        WAYS[way](str(evil))
    assert os.listdir() == ["evil.ckpt"]


@pytest.mark.parametrize("way", WAYS)
def test_url_is_not_downloaded(here: Path, way: str) -> None:
    with pytest.raises(UserError, match=r"is a URL\. Download the file first"):
        WAYS[way](ADDRESS)


@pytest.mark.parametrize("word", ["last", "hpc"])
def test_checkpoint_found_by_lightning_is_read_safely(evil: Path, word: str) -> None:
    evil.rename("last.ckpt" if word == "last" else "hpc_ckpt_1.ckpt")
    keeper = ModelCheckpoint(Path.cwd(), save_last=True)
    with pytest.raises(UserError, match="objects or code"):
        _trainer(callbacks=[keeper], default_root_dir=Path.cwd()).fit(BoringModel(), ckpt_path=word)
    assert not Path("ran").exists()


def test_other_checkpoint_plugin_raises() -> None:
    with pytest.raises(UserError, match=r"--trainer.plugins AsyncCheckpointIO: .*Leave it out"):
        _trainer(plugins=[AsyncCheckpointIO()])


def test_callable_named_in_hyper_parameters_is_not_called(trained: Path, here: Path) -> None:
    content = torch.load(trained / "best.ckpt", weights_only=True)
    content["hyper_parameters"]["_instantiator"] = "os.mkdir"
    torch.save(content, here / "x.ckpt")
    with pytest.raises(UserError, match="contains a function to call"):
        SegmentationModule.load_from_checkpoint(here / "x.ckpt")
