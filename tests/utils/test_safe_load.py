"""Files that are something else, or that want to run code: one sentence, exit code 2, and nothing runs."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import TINY, refused, tiny
from vocseg.checkpoints.io import newest_valid_checkpoint
from vocseg.errors import UserError
from vocseg.models.network import build_network
from vocseg.utils.safe_load import write_tensors

Capture = pytest.CaptureFixture[str]

# Every file with every verb takes two minutes; without this, every file and every verb occur.
EVERYTHING = os.environ.get("VOCSEG_EVERYTHING") == "1"


class Evil:
    """Makes a folder called `ran` in the working folder when it is unpickled as pickles are."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


class Doubler(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def _old_torch(path: Path) -> None:
    torch.save({"state_dict": Evil()}, path, _use_new_zipfile_serialization=False)


def _zipped(path: Path) -> None:
    torch.save({"state_dict": Evil(), "description": {}}, path)


def _within(*keys: str) -> Callable[[Path], None]:
    """A checkpoint of ours with code somewhere in it."""

    def make(path: Path) -> None:
        content = torch.load(path.parent / "good.ckpt", weights_only=True)
        at = content
        for key in keys[:-1]:
            at = at.setdefault(key, {})
        at[keys[-1]] = Evil()
        torch.save(content, path)

    return make


def _instantiator(path: Path) -> None:
    content = torch.load(path.parent / "good.ckpt", weights_only=True)
    content["hyper_parameters"]["_instantiator"] = "os.system"
    torch.save(content, path)


def _torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.trace(Doubler(), torch.zeros(1)), str(path))


def _package(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/.data/extern_modules", "os")
        archive.writestr("x/evil.py", "import os; os.mkdir('ran')")
        archive.writestr("x/model.pkl", pickle.dumps(Evil()))


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for name in ("storages", "tensors", "pickle"):
            header, data = tarfile.TarInfo(name), pickle.dumps(Evil())
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def _objects(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, facts=np.array([Evil()], object), matrices_cells=np.array([Evil()], object))


def _safetensors(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 46) + b'{"w": {}}' + bytes(100))


def _declared(path: Path) -> None:
    """An entry that says to be a terabyte long, where there is nothing."""
    torch.save({"w": torch.zeros(1000)}, path)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")  # the first in the table of contents
    data[at + 20 : at + 28] = struct.pack("<II", 0xFFFFFF00, 0xFFFFFF00)
    path.write_bytes(data)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": 0}))
        with archive.open("archive/data/0", "w", force_zip64=True) as entry:
            for _ in range(64):
                entry.write(bytes(1 << 20))


def _traversal(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": 0}))
        archive.writestr("../../ran", b"")
        archive.writestr("/ran", b"")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _picture(path: Path) -> None:
    Image.new("RGB", (30, 30)).save(path, "JPEG")


def _saved(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A checkpoint of ours that says something else of itself."""

    def make(path: Path) -> None:
        content = torch.load(path.parent / "good.ckpt", weights_only=True)
        change(content)
        torch.save(content, path)

    return make


def _normalise(content: dict[str, Any]) -> None:
    content["vocseg"]["normalisation"]["mean"] = [0.5, 0.5, 0.5]


EVIL: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickle": (_pickled, "contains objects or code"),
    "old torch": (_old_torch, "contains objects or code"),
    "zip": (_zipped, "contains objects or code"),
    "instantiator object": (_within("hyper_parameters", "_instantiator"), "contains objects or code"),
    "instantiator": (_instantiator, "contains a function to call"),
    "callbacks": (_within("callbacks", "x"), "contains objects or code"),
    "loops": (_within("loops", "fit_loop", "state_dict", "x"), "contains objects or code"),
    "TorchScript": (_torchscript, "not a readable file of weights (RuntimeError"),
    "torch.package": (_package, "not a readable file of weights (RuntimeError"),
    "tar": (_tar, "not a file that torch writes"),
    "npz": (_objects, "not a readable file of weights (RuntimeError"),
    "safetensors": (_safetensors, "not a file that torch writes"),
    "declared size": (_declared, "it is damaged"),
    "zip bomb": (_bomb, "it declares 67,1"),
    "traversal": (_traversal, "leads out of it"),
    "pipe": (_pipe, "is a pipe or a device"),
    "device": (_device, "is a pipe or a device"),
    "link to itself": (_loop, "there is no such file"),
}
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda path: path.mkdir(), "is a folder. Give a file in it, such as last.ckpt"),
    "empty": (lambda path: path.touch(), "it is empty"),
    "text": (lambda path: path.write_text("to be done\n"), "not a file that torch writes"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html><p>404"), "it is a web page"),
    "noise": (lambda path: path.write_bytes(b"\x01\xfe" * 300), "not a file that torch writes"),
    "JPEG": (_picture, "not a file that torch writes"),
    "other zip": (
        lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "a"),
        "not a readable file of weights (RuntimeError",
    ),
    "bare network": (_saved({"encoder.conv1.weight": torch.zeros(2)}), "bare parameters of a network"),
    "bare encoder": (_saved({"layer1.0.weight": torch.zeros(2)}), "are for --model.encoder_weights"),
    "another Lightning": (
        _saved({"pytorch-lightning_version": "2.6.0", "state_dict": {"w": torch.zeros(1)}}),
        "data of another program (pytorch-lightning_version, state_dict)",
    ),
    "another program": (_saved({"model": {}, "meta": {}}), "data of another program (model, meta)"),
    "a list": (_saved([1, 2]), "data of another program (list)"),
    "newer": (_changed(lambda content: content["vocseg"].update(format=9)), "newer than this one"),
    "normalisation": (_changed(_normalise), "images with mean [0.5, 0.5, 0.5]"),
    "no classes": (_changed(lambda content: content["vocseg"].update(classes=7)), "its classes is not what"),
    "odd encoder": (
        _changed(lambda content: content["vocseg"].update(encoder="tu-hf-hub:a/b")),
        "its encoder is",
    ),
    "huge size": (_changed(lambda content: content["vocseg"].update(size=10**9)), "its size is not what"),
    "no state": (_changed(lambda content: content.update(state_dict={"w": 1})), "its state_dict is not what"),
}
VERBS = {
    "fit": ["--data.root", "SAMPLE"],
    "finetune": ["--data.root", "SAMPLE"],
    "validate": ["--data.root", "SAMPLE"],
    "test": ["--data.root", "SAMPLE"],
    "predict": ["--data.predict_dir", "SAMPLE"],
    "export": [],
    "submit": ["--root", "SAMPLE", "--split", "val"],
}


def _pairs() -> list[tuple[str, str]]:
    """Every file with every verb; or with one verb each: those with code in turn, the others the fastest."""
    if EVERYTHING:
        return [(kind, verb) for kind in [*EVIL, *FOREIGN] for verb in VERBS]
    verbs = [*VERBS]
    evil = [(kind, verbs[k % len(verbs)]) for k, kind in enumerate(EVIL)]
    return [*evil, *((kind, "export") for kind in FOREIGN)]


@pytest.fixture
def files(here: Path, trained: Path) -> Path:
    (here / "good.ckpt").symlink_to(trained / "best.ckpt")
    return here


@pytest.mark.parametrize(("kind", "verb"), _pairs())
def test_foreign_or_malicious_checkpoint_raises_and_runs_no_code(
    files: Path, sample: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, kind: str, verb: str
) -> None:
    make, what = {**EVIL, **FOREIGN}[kind]
    make(files / "x.ckpt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    words = [str(sample) if word == "SAMPLE" else word for word in VERBS[verb]]
    said = refused(capsys, [verb, "--ckpt_path", "x.ckpt", *words])
    assert said.startswith("vocseg: --ckpt_path x.ckpt: ")
    assert what in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in files.iterdir()) == ["good.ckpt", "x.ckpt"]


@pytest.mark.parametrize(
    "kind", ["pickle", "old torch", "zip", "TorchScript", "zip bomb", "declared size", "pipe", "safetensors"]
)
def test_malicious_encoder_weights_raise_and_run_no_code(
    files: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = "x.safetensors" if kind == "safetensors" else "x.pth"
    EVIL[kind][0](files / name)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserError, match=f"^--model.encoder_weights {name}: "):
        build_network("unet", TINY, name, 21)
    assert sorted(os.listdir(files)) == sorted(["good.ckpt", name])


@pytest.mark.parametrize(
    "kind", ["npz", "pickle", "zip bomb", "declared size", "traversal", "pipe", "device"]
)
def test_malicious_scores_raise_and_run_no_code(here: Path, capsys: Capture, kind: str) -> None:
    EVIL[kind][0](here / "x.npz")
    said = refused(capsys, ["compare", "x.npz", "x.npz"])
    assert said.startswith("vocseg: x.npz ")
    assert said.count("\n") == 1
    assert os.listdir(here) == ["x.npz"]


CALLS = """
- class_path: subprocess.Popen
  init_args: {args: [mkdir, ran]}
"""
RECIPES = {
    "object": ("data: !!python/object/apply:os.mkdir [ran]", "could not determine a constructor"),
    "callback": (f"trainer:\n  callbacks:{CALLS.replace(chr(10), chr(10) + '    ')}", "callbacks"),
    "function": (
        "trainer:\n  callbacks:\n    class_path: lightning.pytorch.callbacks.LambdaCallback\n"
        "    init_args: {on_fit_start: os.abort}",
        "callbacks",
    ),
    "logger": (f"trainer:\n  logger:{CALLS.replace(chr(10), chr(10) + '    ')}", "logger"),
    "plugin": (f"trainer:\n  plugins:{CALLS.replace(chr(10), chr(10) + '    ')}", "plugins"),
    "strategy": ("trainer:\n  strategy:\n    class_path: os.mkdir\n    init_args: {path: ran}", "strategy"),
    "model": ("model:\n  class_path: os.mkdir\n  init_args: {path: ran}", "model"),
    "data": ("data:\n  class_path: subprocess.Popen\n  init_args: {args: [mkdir, ran]}", "data"),
    "word": ("model:\n  encoder: {class_path: subprocess.Popen, init_args: {args: [mkdir, ran]}}", "encoder"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_class_in_recipe_is_not_instantiated(sample: Path, here: Path, capsys: Capture, name: str) -> None:
    text, what = RECIPES[name]
    (here / "x.yaml").write_text(text)
    said = refused(capsys, ["fit", "--config", "x.yaml", "--data.root", str(sample)])
    assert what in said
    assert said.count("\n") == 1
    assert os.listdir(here) == ["x.yaml"]


@pytest.mark.parametrize("make", [_pipe, _device, _picture])
def test_recipe_that_is_not_a_text_file_raises(
    sample: Path, here: Path, capsys: Capture, make: Callable[[Path], None]
) -> None:
    make(here / "x.yaml")
    for words in (
        ["fit", "--config", "x.yaml"],
        ["audit", "--root", str(sample), "--classes", "x.yaml"],
    ):
        said = refused(capsys, words)
        assert "x.yaml" in said
        assert said.count("\n") == 1
    assert os.listdir(here) == ["x.yaml"]


def test_object_in_class_list_is_not_created(sample: Path, here: Path, capsys: Capture) -> None:
    (here / "x.yaml").write_text("classes: !!python/object/apply:os.mkdir [ran]")
    assert "x.yaml: not YAML" in refused(capsys, ["audit", "--root", str(sample), "--classes", "x.yaml"])
    assert os.listdir(here) == ["x.yaml"]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/x.ckpt",
        "https://a.b/x.ckpt",
        "s3://a/x.ckpt",
        "gs://a/x",
        "hf://a/x",
        "registry:x",
    ],
)
def test_url_as_checkpoint_raises(files: Path, sample: Path, capsys: Capture, address: str) -> None:
    assert "is a URL. Download the file first" in refused(capsys, ["export", "--ckpt_path", address])
    if EVERYTHING or address.startswith("http:"):
        words = ["validate", "--data.root", str(sample), "--ckpt_path", address]
        assert "is a URL. Download the file first" in refused(capsys, words)


def test_pipe_with_image_name_is_skipped(trained: Path, here: Path, capsys: Capture) -> None:
    (here / "photos").mkdir()
    os.mkfifo(here / "photos" / "x.jpg")
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.predict_dir", "photos"]
    assert "nothing to predict: photos holds no image (x.jpg: a pipe" in refused(capsys, ["predict", *words])


def test_resume_without_optimizer_state_raises(files: Path, sample: Path, capsys: Capture) -> None:
    _changed(lambda content: content.pop("optimizer_states"))(files / "x.ckpt")
    said = refused(capsys, ["fit", "--ckpt_path", "x.ckpt", *tiny(sample)])
    assert "x.ckpt: contains weights without optimizer state" in said
    assert "finetune --ckpt_path x.ckpt" in said


def test_newest_valid_checkpoint_is_used_and_damaged_ones_reported(files: Path) -> None:
    (files / "run").mkdir()
    content = torch.load(files / "good.ckpt", weights_only=True)
    for name, epoch, step in (("best", 1, 10), ("step", 2, 15), ("last", 2, 20)):
        write_tensors({**content, "epoch": epoch, "global_step": step}, files / "run" / f"{name}.ckpt")
    os.utime(files / "run" / "best.ckpt", (2e9, 2e9))  # the times say nothing
    assert newest_valid_checkpoint(files / "run") == (files / "run" / "last.ckpt", [])
    for name, used, sentences in (("last", "step", 1), ("step", "best", 2)):
        path = files / "run" / f"{name}.ckpt"
        path.write_bytes(path.read_bytes()[:-1000])
        found, said = newest_valid_checkpoint(files / "run")
        assert found.stem == used
        assert len(said) == sentences
        assert any(f"{name}.ckpt: not a readable file of weights: it is damaged" in each for each in said)
        assert all(f"using {used}.ckpt (epoch " in each for each in said)


def test_last_checkpoint_wins_tie(files: Path) -> None:
    for name in ("best", "last", "another"):
        (files / f"{name}.ckpt").write_bytes((files / "good.ckpt").read_bytes())
    assert newest_valid_checkpoint(files)[0].name == "last.ckpt"


def test_resume_without_checkpoint_raises(here: Path) -> None:
    for name, why in (("none", "there is no such folder"), (".", "it has no .ckpt")):
        with pytest.raises(Exception, match=f"nothing to resume in {name}: {why}"):
            newest_valid_checkpoint(Path(name))
    (here / "last.ckpt").touch()
    with pytest.raises(Exception, match=r"nothing to resume in .*last.ckpt: .*it is empty"):
        newest_valid_checkpoint(here)
