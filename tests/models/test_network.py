"""Networks by name, and files of encoder weights."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from safetensors.torch import save_file

from vocseg.constants import IMAGENET_MEAN, IMAGENET_STD
from vocseg.errors import UserError
from vocseg.models.network import build_network, load_encoder_file

TINY = "tu-test_resnet.r160_in1k"


def test_network_normalises_uint8_images() -> None:
    network = build_network("unet", TINY, None, 21).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(k).view(1, 3, 1, 1) for k in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        torch.testing.assert_close(
            network(image), network.model((image / 255 - mean) / std), rtol=1e-3, atol=1e-4
        )


def test_state_dict_equals_that_of_smp() -> None:
    network = build_network("unet", TINY, None, 21)
    smp.create_model("unet", TINY, None, classes=21).load_state_dict(network.model.state_dict())
    assert all(key.startswith("model.") for key in network.state_dict())


def test_logits_are_float32_under_autocast() -> None:
    network = build_network("unet", TINY, None, 21)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).dtype == torch.float32


@pytest.mark.parametrize(
    ("arch", "encoder", "weights", "classes", "what"),
    [
        ("unnet", TINY, None, 21, "--model.arch unnet .*Available options are"),
        ("unet", "resnet43", None, 21, "--model.encoder resnet43: .*supported encoders"),
        ("unet", "tu-resnet3", None, 21, "--model.encoder tu-resnet3: .*resnet3"),
        ("unet", "resnet34", "imagnet", 21, "--model.encoder_weights imagnet: .*Available options are"),
        ("unet", TINY, None, 1, "--model.num_classes 1: a network needs at least 2"),
        ("unet", "tu-test_vit", None, 21, "--model.encoder tu-test_vit: cannot be built under"),
        ("unet", "tu-vit_small_patch14_dinov2", None, 21, "cannot be built under --model.arch unet"),
    ],
)
def test_unbuildable_network_raises(
    arch: str, encoder: str, weights: str | None, classes: int, what: str
) -> None:
    with pytest.raises(UserError, match=what):
        build_network(arch, encoder, weights, classes)


def test_size_not_divisible_by_stride_raises() -> None:
    build_network("unet", TINY, None, 21).check_size(100)
    with pytest.raises(UserError, match=r"--data.image_size 100: this network needs a multiple of 32"):
        build_network("unetplusplus", TINY, None, 21).check_size(100)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """A local stand-in for the hub that smp fetches from, with a ResNet-18 of known weights only."""
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    torch.nn.init.constant_(encoder.conv1.weight, 0.25)
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    files = {"model.safetensors": (tmp_path / "model.safetensors").read_bytes(), "config.json": b"{}"}

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            if "resnet18" not in self.path:  # ends the connection without an answer
                return
            name = self.path.split("?")[0].rsplit("/", 1)[-1]
            content = files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("ETag", f'"{name}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if body and content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.slow
def test_imagenet_weights_come_from_hub_and_failure_names_remedies(hub: str, tmp_path: Path) -> None:
    program = (
        "import time\ntime.sleep = lambda seconds: None\n"  # it asks again and again, ever later
        "from vocseg.models.network import build_network\n"
        "from vocseg.errors import UserError\n"
        "print(float(build_network('unet', 'resnet18', 'imagenet', 21).encoder.conv1.weight.mean()))\n"
        "try: build_network('unet', 'resnet34', 'imagenet', 21)\n"
        "except UserError as error: print(error.sentence)\n"
    )
    environment = {
        **{"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
        **{"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HOME": str(tmp_path)},
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    weight, sentence = [line for line in done.stdout.splitlines() if not line.startswith("downloading")]
    assert weight == "0.25"
    assert "--model.encoder_weights imagenet: the weights of resnet34 could not be fetched" in sentence


def _features(encoder: torch.nn.Module) -> torch.Tensor:
    encoder.eval()
    with torch.no_grad():
        return encoder(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))[-1]  # type: ignore[no-any-return]


def _encoder(name: str) -> torch.nn.Module:
    return smp.encoders.get_encoder(name, weights=None)  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_resnet34_file_gives_same_features(tmp_path: Path, suffix: str) -> None:
    source = torchvision.models.resnet34()
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)  # type: ignore[operator]
    encoder = _encoder("resnet34")
    load_encoder_file(encoder, path)
    source.fc = source.avgpool = torch.nn.Identity()  # type: ignore[assignment]
    source.eval()
    with torch.no_grad():
        wanted = source(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    torch.testing.assert_close(_features(encoder).flatten(1), wanted)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet34", "resnet34"),  # timm's keys into smp's own encoder
        ("tu-resnet34", "resnet34"),  # into smp's wrapper round timm
        ("tu-test_resnet.r160_in1k", "test_resnet"),
    ],
)
def test_timm_file_gives_same_features(tmp_path: Path, ours: str, theirs: str) -> None:
    torch.manual_seed(0)
    source = timm.create_model(theirs, num_classes=10)
    for module in source.modules():  # statistics that tell a mistaken layer apart
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    encoder = _encoder(ours)
    load_encoder_file(encoder, tmp_path / "weights.pth")
    source.eval()
    with torch.no_grad():
        wanted = source.forward_features(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    torch.testing.assert_close(_features(encoder), wanted, rtol=1e-4, atol=1e-4)


def test_mobilenet_file_gives_same_features(real_voc: Path) -> None:
    path = real_voc.parent / "weights" / "mobilenet_v2_imagenet.pth"
    encoder = _encoder("mobilenet_v2")
    load_encoder_file(encoder, path)
    source = torchvision.models.mobilenet_v2()
    source.load_state_dict(torch.load(path, weights_only=True))
    source.eval()
    with torch.no_grad():
        wanted = source.features(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))
    assert torch.equal(_features(encoder), wanted)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torchvision.models.resnet18, "not the weights of this encoder: its 'layer1"),
        (lambda: {"a": 1}, "has no state dict"),
        (None, "there is no such file"),
        (b"nonsense", "not a readable file of weights"),
    ],
)
def test_foreign_encoder_file_raises(tmp_path: Path, content: object, what: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content):
        made = content()
        torch.save(made.state_dict() if isinstance(made, torch.nn.Module) else made, path)
    with pytest.raises(UserError, match=f"--model.encoder_weights {path}: .*{what}"):
        load_encoder_file(_encoder("resnet34"), path)
