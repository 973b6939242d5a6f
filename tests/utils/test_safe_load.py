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

from tests.conftest import TINY, refused, tiny
from vocseg.checkpoints.io import newest_valid_checkpoint
from vocseg.errors import UserError
from vocseg.models.network import build_network
from vocseg.utils.safe_load import write_tensors

Capture = pytest.CaptureFixture[str]


class Evil:
    """Makes a folder called `ran` in the working folder when it is unpickled as pickles are."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


class Doubler(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


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


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for name in ("storages", "tensors", "pickle"):
            header, data = tarfile.TarInfo(name), pickle.dumps(Evil())
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def _objects(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, facts=np.array([Evil()], object), matrices_cells=np.array([Evil()], object))


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


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


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
    "zip": (_zipped, "contains objects or code"),
    "instantiator": (_instantiator, "contains a function to call"),
    "callbacks": (_within("callbacks", "x"), "contains objects or code"),
    "TorchScript": (_torchscript, "not a readable file of weights (RuntimeError"),
    "tar": (_tar, "not a file that torch writes"),
    "npz": (_objects, "not a readable file of weights (RuntimeError"),
    "declared size": (_declared, "it is damaged"),
    "zip bomb": (_bomb, "it declares 67,1"),
    "pipe": (_pipe, "a pipe or a device"),
    "link to itself": (_loop, "there is no such file"),
}
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (
        lambda path: path.mkdir(),
        "is a folder, a pipe or a device. Give a regular file, such as",
    ),
    "empty": (lambda path: path.touch(), "it is not a file that torch writes"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html><p>404"), "perhaps a web page"),
    "other zip": (
        lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "a"),
        "not a readable file of weights (RuntimeError",
    ),
    "bare network": (_saved({"encoder.conv1.weight": torch.zeros(2)}), "bare parameters"),
    "another program": (_saved({"model": {}, "meta": {}}), "data of another program (model, meta)"),
    "newer": (_changed(lambda content: content["vocseg"].update(format=9)), "newer than this one"),
    "normalisation": (_changed(_normalise), "images with mean [0.5, 0.5, 0.5]"),
    "odd encoder": (
        _changed(lambda content: content["vocseg"].update(encoder="tu-hf-hub:a/b")),
        "its description is not what",
    ),
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
    """Each file with one verb: those with code in turn, the others with the fastest."""
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


@pytest.mark.parametrize("kind", ["pickle", "zip", "zip bomb", "declared size", "pipe"])
def test_malicious_encoder_weights_raise_and_run_no_code(
    files: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    EVIL[kind][0](files / "x.pth")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserError, match=r"^--model.encoder_weights x.pth: "):
        build_network("unet", TINY, "x.pth", 21)
    assert sorted(os.listdir(files)) == ["good.ckpt", "x.pth"]


@pytest.mark.parametrize("kind", ["npz", "pickle", "zip bomb", "declared size", "pipe"])
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
    "logger": (f"trainer:\n  logger:{CALLS.replace(chr(10), chr(10) + '    ')}", "logger"),
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


def test_object_in_class_list_is_not_created(sample: Path, here: Path, capsys: Capture) -> None:
    (here / "x.yaml").write_text("classes: !!python/object/apply:os.mkdir [ran]")
    assert "x.yaml: not YAML" in refused(capsys, ["audit", "--root", str(sample), "--classes", "x.yaml"])
    assert os.listdir(here) == ["x.yaml"]


@pytest.mark.parametrize("address", ["https://a.b/x.ckpt", "s3://a/x.ckpt", "registry:x"])
def test_url_as_checkpoint_raises(files: Path, capsys: Capture, address: str) -> None:
    assert "is a URL. Download the file first" in refused(capsys, ["export", "--ckpt_path", address])


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
    with pytest.raises(Exception, match=r"nothing to resume in .*last.ckpt: .*not a file that torch"):
        newest_valid_checkpoint(here)
