"""What the tests share: a small synthetic set, flags for a tiny network, and what a refusal looks like."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by the other workers
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning.pytorch  # noqa: F401  # where its notices go is settled now, not within a test
import pytest
import torch
from hypothesis import HealthCheck, settings

from vocseg.__main__ import main
from vocseg.data.synthetic import write_sample

# A green main stays green: the same cases every time, unless somebody asks for a number of others.
CASES = int(os.environ.get("VOCSEG_FUZZ_CASES", 0))
settings.register_profile(
    "vocseg",
    max_examples=CASES or 60,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("vocseg")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TINY = "tu-test_resnet.r160_in1k"  # a 2.3 M parameter U-Net


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a synthetic set: 20 train and 7 val images, at VOC's sizes."""
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, train=20, val=7, progress=False)
    return root


@pytest.fixture(scope="session")
def real_voc() -> Path:
    """Root of the real pairs."""
    root = SHARED / "voc"
    if not root.is_dir():
        pytest.skip("the real VOC pairs are not on this machine")
    return root


def tiny(sample: Path) -> list[str]:
    """Flags for a run of seconds."""
    return [
        *("--model.encoder", TINY, "--model.encoder_weights", "null", "--data.root", str(sample)),
        *("--data.image_size", "64", "--data.batch_size", "4", "--trainer.max_epochs", "1"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    ]


def refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """What the command line says on refusing: one sentence, exit code 2, no traceback."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Logits depend in the last bit on the number of threads and on the images of a batch."""
    own = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(own)


@pytest.fixture(scope="session")
def trained(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that `fit` made."""
    folder = tmp_path_factory.mktemp("trained")
    main(["fit", *tiny(sample), "--trainer.default_root_dir", str(folder), "--trainer.max_epochs", "2"])
    return folder / "lightning_logs" / "fit" / "version_0"


def scoring(trained: Path, sample: Path) -> list[str]:
    """Flags to score those weights, image by image."""
    weights = ["--ckpt_path", str(trained / "unet_voc.pth")]
    return [*weights, "--data.root", str(sample), "--data.batch_size", "1"]


@pytest.fixture(scope="session")
def tested(sample: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `test` that scored those weights."""
    folder = tmp_path_factory.mktemp("tested")
    words = scoring(trained, sample)
    main(["test", *words, "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(folder)])
    return folder / "lightning_logs" / "test" / "version_0"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome; install one: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
