"""Bad inputs from the command line: refused in a sentence that names the culprit.

Nothing is written but what is derived from the data, nothing is lost, nothing hangs. Faults that have a place
of their own (readers, tools) are not repeated here.
"""

import os
import shutil
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.fingerprint import bytes_digest
from vocseg.data.synthetic import write_sample
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]
BASE = Path("VOCdevkit/VOC2012")
LISTS, IMAGE, MASK = (
    BASE / "ImageSets/Segmentation",
    BASE / "JPEGImages/2007_000002.jpg",
    BASE / "SegmentationClass/2007_000002.png",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of six images to train on and three to score on."""
    root = tmp_path_factory.mktemp("small")
    write_sample(root, train=6, val=3, progress=False)
    return root


@pytest.fixture
def root(small: Path, here: Path) -> Path:
    """A copy of it, to be spoilt."""
    shutil.copytree(small, here / "set")
    return here / "set"


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A case that waits for ever fails, instead of stopping the tests."""

    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(90)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _content(root: Path) -> dict[str, str]:
    """Every file of a folder with its digest, but what runs derive from a set."""
    files = (path for path in root.rglob("*") if path.is_file() and ".vocseg" not in path.parts)
    return {str(path.relative_to(root)): bytes_digest(path.read_bytes()) for path in files}


def _refuses(capsys: Capture, here: Path, words: list[str], parts: list[str]) -> None:
    before = _content(here)
    said = refused(capsys, words)
    (sentence,) = [line for line in said.splitlines() if line.startswith("vocseg: ")]
    assert said.endswith(f"{sentence}\n")
    for part in parts:
        assert part in sentence
    assert _content(here) == before
    assert not list(here.rglob("version_*"))


def _list(name: str, text: str | bytes) -> Callable[[Path], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda root: (root / LISTS / name).write_bytes(data)


def _picture(
    where: Path, mode: str, format: str, size: tuple[int, int] = (500, 375)
) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        frames = [Image.new(mode, size, 1), Image.new(mode, size)]
        how = {"save_all": True, "append_images": frames[1:]} if format == "GIF" else {}
        frames[0].save(root / where, format, **how)  # type: ignore[arg-type]

    return spoil


def _replaced(where: Path, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        (root / where).unlink()
        make(root / where)

    return spoil


def _four_bits(path: Path) -> None:
    """A grey PNG with four bits a pixel, all of them class 1."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 500, 375, 4, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x11" * 250) * 375)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _painted(value: int) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        with Image.open(root / MASK) as mask:
            pixels = np.asarray(mask).copy()
        pixels[7, 9] = value
        Image.fromarray(pixels).save(root / MASK)

    return spoil


DATA: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "list of bytes": (_list("train.txt", b"\xff\xfe2\x000\x00"), ["train.txt", "line 1 is not UTF-8"]),
    "list that leads upwards": (_list("train.txt", "2007_000001\n../../x\n"), ["line 2", "leads elsewhere"]),
    "list that steers the terminal": (_list("train.txt", "a\x1b[2J\n"), ["line 1", "\\x1b[2J"]),
    "empty list to score on": (_list("val.txt", ""), ["val.txt is empty"]),
    "image in both lists": (
        _list("val.txt", "2007_000003\n2007_000005\n2008_000001\n"),
        ["2007_000003 and 1 more images are in both 'train' and 'val'", "train.txt"],
    ),
    "half of the images": (
        lambda root: [path.unlink() for path in sorted((root / IMAGE).parent.iterdir())[2:]],
        ["2007_000003.jpg (and 3 more files) is missing"],
    ),
    "no folder of lists": (lambda root: shutil.rmtree(root / LISTS), ["are none", "--data.val_fraction"]),
    "web page": (lambda root: (root / IMAGE).write_text("<html>"), [IMAGE.name, "it is not an image file"]),
    "pipe for an image": (_replaced(IMAGE, os.mkfifo), [IMAGE.name, "is missing"]),
    "image of 16 bits": (_picture(IMAGE, "I;16", "PNG"), [IMAGE.name, "mode I;16"]),
    "animation": (_picture(IMAGE, "L", "GIF"), [IMAGE.name, "is an animation"]),
    "mask of another size": (_picture(MASK, "L", "PNG", (30, 20)), [f"{MASK.name} is 30x20", "one size"]),
    "image truncated": (
        lambda root: os.truncate(root / IMAGE, 5000),
        [IMAGE.name, "cannot be read", "truncated"],
    ),
    "mask missing": (lambda root: (root / MASK).unlink(), [MASK.name, "is missing"]),
    "mask in colours": (_picture(MASK, "RGB", "PNG"), [MASK.name, "colour", "which belongs to no class"]),
    "mask with alpha": (_picture(MASK, "RGBA", "PNG"), [MASK.name, "is transparent"]),
    "mask of 16 bits": (_picture(MASK, "I;16", "PNG"), [MASK.name, "mode I;16"]),
    "mask of 4 bits in grey": (lambda root: _four_bits(root / MASK), [MASK.name, "fewer than 8 bits"]),
    "mask as JPEG": (_picture(MASK, "L", "JPEG"), [MASK.name, "is a JPEG"]),
    "mask with 21": (_painted(21), [MASK.name, "value 21", "x=9, y=7"]),
    "mask cut off": (lambda root: os.truncate(root / MASK, 300), [MASK.name, "cannot be read"]),
    "manifest of bytes": (
        lambda root: [
            (root / BASE / ".vocseg").mkdir(),
            (root / BASE / ".vocseg/manifest.json").write_text("{"),
        ],
        ["manifest.json cannot be read", "audit"],
    ),
}


@pytest.mark.parametrize("fault", DATA)
def test_faulty_data_set_is_refused_by_name(root: Path, here: Path, capsys: Capture, fault: str) -> None:
    spoil, parts = DATA[fault]
    spoil(root)
    words = ["fit", *tiny(Path("set")), "--data.batch_size", "2", "--data.download", "false"]
    _refuses(capsys, here, words, parts)


@pytest.mark.parametrize("place", [".", "set/VOCdevkit/VOC2012/ImageSets", "nowhere", "x" * 5000])
def test_root_without_data_set_is_refused(root: Path, here: Path, capsys: Capture, place: str) -> None:
    words = ["fit", *tiny(Path(place)), "--data.download", "false"]
    _refuses(capsys, here, words, ["no VOC 2012 below", place[:60], "--data.root"])


FLAGS: dict[str, tuple[list[str], list[str]]] = {
    "no VOC": (
        ["--data.root", "nowhere", "--data.download", "false"],
        ["no VOC 2012 below nowhere", "--data.root"],
    ),
    "results in a folder": (["--json", "."], ["--json . cannot be written"]),
    "run to resume": (["--ckpt_path", "last"], ["--ckpt_path last", "vocseg resume RUN"]),
    "unknown encoder": (["--model.encoder", "resnet43"], ["--model.encoder resnet43", "resnet34"]),
    "unknown decoder": (["--model.arch", "vnet"], ["--model.arch vnet", "unet"]),
    "class count 20": (["--model.num_classes", "20"], ["--model.num_classes 20", "21"]),
    "batch too large": (["--data.batch_size", "64"], ["6 images", "batch of 64"]),
    "odd size": (
        ["--model.arch", "fpn", "--data.image_size", "50"],
        ["--data.image_size 50", "multiple of 32"],
    ),
    "no such split": (["--data.train_split", "trian"], ["no split 'trian'", "trainval"]),
    "too many images": (["--data.max_train_samples", "21"], ["has 6 images", "asks for 21"]),
    "learning rate 0": (["--model.lr", "0"], ["model.lr"]),
    "abbreviated flag": (["--trainer.max_epoch", "1"], ["do you mean --trainer.max_epochs"]),
    "encoder weights missing": (["--model.encoder_weights", "no.pth"], ["no.pth", "no such file"]),
    "checkpoint missing": (["--ckpt_path", "no.ckpt"], ["no.ckpt", "no such file"]),
    "augmentation unknown": (["--data.augmentation", "lots"], ["data.augmentation"]),
    "sampler of Lightning": (["--trainer.use_distributed_sampler", "true"], ["use_distributed_sampler"]),
    "size huge": (["--data.image_size", "100000"], ["--data.image_size", "100,000", "8,192"]),
    "rate infinite in a recipe": (["--config", "rate.yaml"], ["--model.lr inf"]),
    "300 classes": (["--model.num_classes", "300"], ["--model.num_classes 300"]),
    "list of 300 classes": (["--data.classes", "many.txt"], ["many.txt", "300 classes"]),
    "classes in a pipe": (["--data.classes", "pipe"], ["pipe", "not a plain file"]),
    "no image to train on": (["--data.max_train_samples", "0"], ["--data.max_train_samples", "0"]),
    "recipe of bytes": (["--config", "bytes.yaml"], ["--config bytes.yaml"]),
    "recipe that is a list": (["--config", "list.yaml"], ["--config list.yaml"]),
    "recipe that is a pipe": (["--config", "pipe"], ["--config pipe", "the recipes are"]),
    "other ending": (["--data.image_suffix", ".png"], ["2007_000001.png", "missing"]),
    "cache in a file": (["--data.cache_dir", "many.txt"], ["many.txt", "--data.cache_dir"]),
    "runs in a file": (["--trainer.default_root_dir", "many.txt"], ["--trainer.default_root_dir many.txt"]),
}


def _odd_files(here: Path) -> None:
    texts = {"empty.yaml": "", "list.yaml": "- a", "number.yaml": "3", "rate.yaml": "{model: {lr: 1e999}}"}
    for name, text in {**texts, "many.txt": "\n".join(f"c{k}" for k in range(300)), "x.jpg": "text"}.items():
        (here / name).write_text(text)
    (here / "bytes.yaml").write_bytes(bytes(range(256)))
    os.mkfifo(here / "pipe")


@pytest.mark.parametrize("name", FLAGS)
def test_invalid_flag_is_refused_by_name(root: Path, here: Path, capsys: Capture, name: str) -> None:
    flags, parts = FLAGS[name]
    _odd_files(here)
    _refuses(capsys, here, ["fit", *tiny(Path("set")), "--data.batch_size", "2", *flags], parts)


TOOLS: dict[str, tuple[list[str], list[str]]] = {
    "sample into a file": (["sample", "--root", "many.txt"], ["--root many.txt", "is a file"]),
    "sample over another": (["sample", "--root", "set"], ["--root set", "holds another data set"]),
    "audit of nothing": (["audit", "nowhere"], ["no data set in nowhere"]),
    "audit with a report in a file": (["audit", "set", "--report", "many.txt/x"], ["many.txt/x"]),
    "compare pipes": (["compare", "pipe", "pipe"], ["pipe", "not a regular file"]),
    "check of a pipe": (["submit", "set", "--split", "val", "--validate", "pipe"], ["--validate pipe"]),
    "export of text": (["export", "--ckpt_path", "many.txt"], ["--ckpt_path many.txt"]),
    "download into a file": (["download", "--root", "many.txt"], ["many.txt"]),
}


@pytest.mark.parametrize("name", TOOLS)
def test_invalid_argument_of_tool_is_refused_by_name(
    root: Path, here: Path, capsys: Capture, name: str
) -> None:
    words, parts = TOOLS[name]
    _odd_files(here)
    _refuses(capsys, here, words, parts)


def test_training_on_trainval_or_val_is_accepted(root: Path) -> None:
    for lists in ({"train_split": "trainval"}, {"train_split": "val"}):
        VOCDataModule(root=root, image_size=64, batch_size=1, **lists).prepare_data()  # type: ignore[arg-type]
    assert voc.find(root) == root / BASE


@pytest.mark.parametrize("verb", ["finetune", "validate", "test", "predict"])
def test_verb_without_weights_raises(here: Path, capsys: Capture, verb: str) -> None:
    assert f"{verb} needs --ckpt_path FILE" in refused(capsys, [verb])


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
    assert "empty holds no image" in refused(capsys, [*words, "--data.predict_dir", "empty"])


def test_unknown_command_raises_with_commands(capsys: Capture) -> None:
    assert "no command 'x'; the commands are fit, resume, finetune" in refused(capsys, ["x"])
    for typed, meant in {"train": "fit", "trian": "fit", "tset": "test", "evaluate": "test"}.items():
        assert f"no command '{typed}'; do you mean {meant}?" in refused(capsys, [typed])


def test_tool_with_invalid_flag_raises(trained: Path, here: Path, capsys: Capture) -> None:
    assert "--format" in refused(
        capsys, ["export", "--ckpt_path", str(trained / "unet_voc.pth"), "--format", "onx"]
    )
    assert "no.pth: there is no such file" in refused(capsys, ["export", "--ckpt_path", "no.pth"])
    assert "--train" in refused(capsys, ["sample", "--train", "0"])


def test_bug_keeps_traceback(sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(SegmentationModule, "training_step", broken)
    with pytest.raises(KeyError, match="a bug"):
        main(["fit", *tiny(sample)])
