"""Bad input from the command line: one sentence, exit code 2, nothing lost, nothing half-written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import refused, tiny
from vocseg.data import voc

Capture = pytest.CaptureFixture[str]


def _first(root: Path, kind: str) -> Path:
    folder = voc.find(root)
    assert folder is not None
    id = voc.split_ids(folder, "train")[0]
    return voc.image_path(folder, id) if kind == "image" else voc.mask_path(folder, id, "train")


def _truncate(root: Path) -> None:
    path = _first(root, "image")
    path.write_bytes(path.read_bytes()[:5000])


def _paint(root: Path) -> None:
    path = _first(root, "mask")
    Image.open(path).convert("RGB").point(lambda level: level // 2).save(path)


def _mislabel(root: Path) -> None:
    path = _first(root, "mask")
    mask = np.asarray(Image.open(path)).copy()
    mask[3, 5] = 77
    Image.fromarray(mask).save(path)


def _crop(root: Path) -> None:
    path = _first(root, "mask")
    Image.open(path).crop((0, 0, 30, 20)).save(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "image missing": (lambda root: _first(root, "image").unlink(), ["2007_000001.jpg", "is missing"]),
    "mask missing": (lambda root: _first(root, "mask").unlink(), ["2007_000001.png", "is missing"]),
    "JPEG truncated": (_truncate, ["2007_000001.jpg", "cannot be read", "truncated"]),
    "mask RGB": (_paint, ["2007_000001.png", "colour", "which is no class's"]),
    "mask of another size": (_crop, ["2007_000001.png is 30x20", "one size"]),
    "label out of range": (_mislabel, ["2007_000001.png", "value 77", "x=5, y=3"]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_raises_before_first_step(
    sample: Path, here: Path, capsys: Capture, damage: str
) -> None:
    spoil, words = DAMAGE[damage]
    shutil.copytree(sample, here / "copy")
    spoil(here / "copy")
    said = refused(capsys, ["fit", *tiny(here / "copy")])
    assert said.startswith("vocseg: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert not list(here.rglob("*.ckpt"))


FLAGS: dict[str, tuple[list[str], list[str]]] = {
    "no VOC": (
        ["--data.root", "nowhere", "--data.download", "false"],
        ["no VOC 2012 below nowhere", "--data.root"],
    ),
    "unknown recipe": (["--config", "seeed"], ["--config seeed", "early_stopping", "fit"]),
    "unknown encoder": (["--model.encoder", "resnet43"], ["--model.encoder resnet43", "resnet34"]),
    "unknown decoder": (["--model.arch", "vnet"], ["--model.arch vnet", "unet"]),
    "class count 0": (["--model.num_classes", "0"], ["model.num_classes", "0"]),
    "class count 20": (["--model.num_classes", "20"], ["--model.num_classes 20", "21"]),
    "batch of none": (["--data.batch_size", "0"], ["data.batch_size", "0"]),
    "batch too large": (["--data.batch_size", "64"], ["20 images", "batch of 64"]),
    "size 0": (["--data.image_size", "0"], ["data.image_size"]),
    "odd size": (
        ["--model.arch", "fpn", "--data.image_size", "50"],
        ["--data.image_size 50", "multiple of 32"],
    ),
    "no such split": (["--data.train_split", "trian"], ["no split 'trian'", "trainval"]),
    "too many images": (["--data.max_train_samples", "21"], ["has 20 images", "asks for 21"]),
    "learning rate nan": (["--model.lr", "nan"], ["model.lr"]),
    "learning rate 0": (["--model.lr", "0"], ["model.lr"]),
    "abbreviated flag": (["--trainer.max_epoch", "1"], ["do you mean --trainer.max_epochs"]),
    "encoder weights missing": (["--model.encoder_weights", "no.pth"], ["no.pth", "no such file"]),
    "checkpoint missing": (["--ckpt_path", "no.ckpt"], ["no.ckpt", "no such file"]),
    "checkpoint of an unnamed run": (["--ckpt_path", "last"], ["--ckpt_path last", "no such file"]),
    "augmentation unknown": (["--data.augmentation", "lots"], ["data.augmentation"]),
    "sampler of Lightning": (["--trainer.use_distributed_sampler", "true"], ["use_distributed_sampler"]),
}


@pytest.mark.parametrize("name", FLAGS)
def test_invalid_flag_raises_and_leaves_no_files(
    sample: Path, here: Path, capsys: Capture, name: str
) -> None:
    flags, words = FLAGS[name]
    said = refused(capsys, ["fit", *tiny(sample), *flags])
    assert said.startswith("vocseg: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert not list(here.iterdir())


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_scoring_without_weights_raises(here: Path, capsys: Capture, verb: str) -> None:
    assert f"{verb} needs --ckpt_path FILE" in refused(capsys, [verb])


def test_finetune_without_run_raises(here: Path, capsys: Capture) -> None:
    assert "finetune needs --ckpt_path FILE" in refused(capsys, ["finetune"])


@pytest.mark.parametrize("verb", ["fit", "finetune", "validate", "test", "predict"])
def test_foreign_pth_raises(sample: Path, here: Path, capsys: Capture, verb: str) -> None:
    torch.save({"weight": torch.zeros(3)}, here / "other.pth")
    said = refused(capsys, [verb, "--ckpt_path", "other.pth", "--data.root", str(sample)])
    assert said.startswith("vocseg: --ckpt_path other.pth: contains no network of vocseg")


def test_encoder_flag_that_contradicts_weights_raises(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    for name in ("unet_voc.pth", "best.ckpt"):
        words = ["--ckpt_path", str(trained / name), "--data.root", str(sample)]
        said = refused(capsys, ["test", *words, "--model.encoder", "resnet18"])
        assert (
            "contains a network with encoder tu-test_resnet.r160_in1k, but --model.encoder is resnet18"
            in said
        )


def test_finetune_with_too_few_images_raises(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    assert "has 20 images, but --data.max_train_samples asks for 1000" in refused(
        capsys, ["finetune", *words]
    )
    words += ["--data.max_train_samples", "8"]
    assert "has 7 images, but --data.max_val_samples asks for 200" in refused(capsys, ["finetune", *words])
    assert not list(here.rglob("version_*"))


def test_predict_without_images_raises(trained: Path, here: Path, capsys: Capture) -> None:
    (here / "empty").mkdir()
    words = ["predict", "--ckpt_path", str(trained / "unet_voc.pth")]
    assert "predict needs --data.predict_dir" in refused(capsys, words)
    assert "nothing to predict: empty holds no image" in refused(
        capsys, [*words, "--data.predict_dir", "empty"]
    )


def test_unknown_command_raises_with_commands(capsys: Capture) -> None:
    assert "no command 'x'; the commands are fit, resume, finetune" in refused(capsys, ["x"])
    for typed, meant in {"train": "fit", "trian": "fit", "tset": "test", "evaluate": "test"}.items():
        assert f"no command '{typed}'; do you mean {meant}?" in refused(capsys, [typed])


def test_tool_with_invalid_flag_raises(trained: Path, here: Path, capsys: Capture) -> None:
    assert "--format" in refused(
        capsys, ["export", "--ckpt_path", str(trained / "unet_voc.pth"), "--format", "onx"]
    )
    assert "no.pth: there is no such file" in refused(capsys, ["export", "--ckpt_path", "no.pth"])
    assert "from 1" in refused(capsys, ["sample", "--train", "0"])


def test_bug_keeps_traceback(sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vocseg.__main__ import main
    from vocseg.models.module import SegmentationModule

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(SegmentationModule, "training_step", broken)
    with pytest.raises(KeyError, match="a bug"):
        main(["fit", *tiny(sample)])
