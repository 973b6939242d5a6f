"""Networks in smp's format: folders and a stand-in for the hub."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from PIL import Image

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.constants import IMAGENET_MEAN, IMAGENET_STD
from vocseg.errors import UserError
from vocseg.inference.hub import is_repository
from vocseg.inference.predictor import load

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pushed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed") / "unet"
    main(["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to", str(folder)])
    return folder


def test_pushed_folder_loads_in_smp(trained: Path, pushed: Path) -> None:
    assert {path.name for path in pushed.iterdir()} == {
        *("config.json", "model.safetensors", "vocseg.json", "README.md", "curves.svg")
    }
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        plain = smp.from_pretrained(str(pushed)).eval()((image / 255 - mean) / std)
        own = load(trained / "unet_voc.pth", device="cpu").network(image)
    assert torch.allclose(plain, own, atol=1e-4)


def test_pushed_folder_gives_same_masks(trained: Path, pushed: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((160, 96))
    found, wanted = (load(path, device="cpu")(picture) for path in (pushed, trained / "unet_voc.pth"))
    assert (found.mask == wanted.mask).all()
    assert found.class_list == wanted.class_list


def test_second_push_replaces_only_its_files(trained: Path, pushed: Path) -> None:
    (pushed / "notes.txt").write_text("mine")
    (pushed / "vocseg.json").write_text("old")
    main(["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to", str(pushed)])
    assert json.loads((pushed / "vocseg.json").read_text())["arch"] == "unet"
    assert (pushed / "notes.txt").read_text() == "mine"
    (pushed / "notes.txt").unlink()


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("vocseg.json", None, "vocseg.json"),
        ("model.safetensors", None, "model.safetensors"),
        ("vocseg.json", b"{", "is damaged (Expecting"),
        ("vocseg.json", b"[1]", "contains no network of vocseg"),
        ("vocseg.json", b"[" * 99999, "is nested too deep"),
        ("model.safetensors", b"\xff" * 99, "is damaged (Error while deserializing header"),
    ],
)
def test_damaged_folder_raises(pushed: Path, tmp_path: Path, name: str, content: Any, part: str) -> None:
    for path in pushed.iterdir():
        if path.name != name:
            (tmp_path / path.name).symlink_to(path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        load(tmp_path)
    assert part in error.value.sentence


def test_repository_names_differ_from_paths(here: Path) -> None:
    Path("user/folder").mkdir(parents=True)
    names = ["user/name", "user/folder", "./user/name", "name", "a/b/c", "runs/unet_voc.pth", "a/model.xml"]
    assert [name for name in names if is_repository(name)] == ["user/name"]


def test_invalid_push_target_raises(trained: Path, here: Path, capsys: Capture) -> None:
    words = ["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to"]
    assert "is neither a folder nor a user/name" in refused(capsys, [*words, "https://example.com/user/name"])
    Path("file").write_text("x")
    assert "cannot be written" in refused(capsys, [*words, "file"])


class _Hub:
    """Stand-in for `huggingface_hub.HfApi` and its download: one repository in a folder."""

    folder: Path
    asked: list[Any]

    def create_repo(self, name: str, **options: Any) -> str:
        self.asked.append((name, options))
        return f"https://hub/{name}"

    def upload_folder(self, repo_id: str, folder_path: Path, delete_patterns: list[str]) -> None:
        self.asked.append((repo_id, delete_patterns))
        shutil.copytree(folder_path, self.folder)

    def download(self, name: str, allow_patterns: list[str]) -> str:
        if name != "user/name":
            raise ConnectionError("no answer")
        self.asked.append(allow_patterns)
        return str(self.folder)


def test_hub_repository_is_written_and_read(
    trained: Path, pushed: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub()
    hub.folder, hub.asked = here / "hub", []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.download)
    main(["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to", "user/name"])
    assert "wrote https://hub/user/name" in capsys.readouterr().out
    wanted = {path.name: path.read_bytes() for path in pushed.iterdir()}
    wanted["README.md"] = wanted["README.md"].replace(b'"FOLDER"', b'"user/name"')
    assert {path.name: path.read_bytes() for path in hub.folder.iterdir()} == wanted
    assert repr(load("user/name", device="cpu")) == "<Predictor of 21 classes at 64x64 on cpu>"
    assert hub.asked == [
        ("user/name", {"private": True, "exist_ok": True}),
        ("user/name", ["curves.svg", "panels.png"]),
        ["model.safetensors", "vocseg.json"],
    ]
    with pytest.raises(UserError, match=r"user/other: the hub cannot be used \(ConnectionError: no answer\)"):
        load("user/other")
