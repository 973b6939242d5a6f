"""Networks in smp's format: folders and a stand-in for the hub."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from PIL import Image

from tests.conftest import ROOT, refused
from vocseg.__main__ import main
from vocseg.constants import IMAGENET_MEAN, IMAGENET_STD
from vocseg.errors import UserError
from vocseg.inference.hub import is_repository
from vocseg.inference.predictor import load

Capture = pytest.CaptureFixture[str]
COMMIT = "5" * 40


@pytest.fixture(scope="module")
def pushed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed") / "unet"
    main(["push", "--ckpt_path", str(trained / "unet_voc.pth"), "--to", str(folder)])
    return folder


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((160, 96))


def test_pushed_folder_loads_in_smp(trained: Path, pushed: Path) -> None:
    assert {path.name for path in pushed.iterdir()} == {
        *("config.json", "model.safetensors", "vocseg.json", "README.md", "curves.png")
    }
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        plain = smp.from_pretrained(str(pushed)).eval()((image / 255 - mean) / std)
        own = load(trained / "unet_voc.pth", device="cpu").network(image)
    assert torch.allclose(plain, own, atol=1e-4)


def test_pushed_folder_gives_same_masks(trained: Path, pushed: Path, picture: Image.Image) -> None:
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
    assert "is no folder and no user/name" in refused(capsys, [*words, "https://example.com/user/name"])
    Path("file").write_text("x")
    assert "cannot be written" in refused(capsys, [*words, "file"])


class _Hub(BaseHTTPRequestHandler):
    """The requests of huggingface_hub that create, fill and read a repository."""

    files: dict[str, bytes]
    asked: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = [json.loads(line) for line in body.splitlines()]
        self.asked.append((self.path, lines[0]))
        base = f"http://{self.headers['Host']}"
        if self.path.endswith("/commit/main"):
            for line in lines[1:]:
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer(
                {"success": True, "commitOid": COMMIT, "commitUrl": f"{base}/user/name/commit/{COMMIT}"}
            )
        elif self.path.endswith("/preupload/main"):
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self._answer({"files": [{"path": file["path"], **modes} for file in lines[0]["files"]]})
        elif self.path == "/api/repos/create":
            self._answer({"url": f"{base}/user/name"})
        else:
            self._answer({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if not path.removeprefix("/api/models").startswith("/user/name"):
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in path:
            sizes = {name: len(content) for name, content in self.files.items()}
            self._answer([{"type": "file", "path": k, "size": v, "oid": COMMIT} for k, v in sizes.items()])
        elif path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in self.files]
            self._answer(
                {"id": "user/name", "sha": COMMIT, "siblings": siblings, "private": True, "tags": []}
            )
        else:
            name = path.rpartition("/")[2]
            self._answer(
                self.files[name], 200, {"ETag": f'"{len(self.files[name])}"', "X-Repo-Commit": COMMIT}
            )

    do_HEAD = do_GET

    def _answer(self, content: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, type[_Hub]]]:
    handler = type("Hub", (_Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()


CODE = """
import sys
from vocseg import UserError, load
from vocseg.__main__ import main
main(["push", "--ckpt_path", sys.argv[1], "--to", "user/name"])
print(load("user/name", device="cpu"))
try:
    load("user/other")
except UserError as error:
    print(error.sentence)
"""


def test_hub_repository_is_written_and_read(
    trained: Path, pushed: Path, here: Path, hub: tuple[str, type[_Hub]]
) -> None:
    address, handler = hub
    own = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(here / "cache"),
        "HF_TOKEN": "hf_stand_in",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(trained / "unet_voc.pth")],
        env={**os.environ, **own, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    wanted = {path.name: path.read_bytes() for path in pushed.iterdir()}
    wanted["README.md"] = wanted["README.md"].replace(b'"FOLDER"', b'"user/name"')
    assert handler.files == wanted
    created = dict(handler.asked)["/api/repos/create"]
    assert (created["name"], created["organization"]) == ("name", "user")
    assert created.get("private", created.get("visibility") == "private")
    assert f"wrote {address}/user/name" in done.stdout
    assert "<Predictor of 21 classes at 64x64 on cpu>" in done.stdout
    assert "user/other: the hub cannot be used (RepositoryNotFoundError: " in done.stdout
