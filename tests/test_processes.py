"""What needs processes of its own: start-up time of help, and two devices."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT, tiny
from tests.forks import Forked, free_port, run, run_together
from vocseg.checkpoints.weights import read_weights


def _vocseg(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As a user starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vocseg", *words]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["sample", "--help"], ["download", "--help"]])
def test_help_imports_no_heavy_package(here: Path, words: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "vocseg", *words]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "import time" in line}
    assert not imported & {
        "torch",
        "lightning",
        "torchvision",
        "segmentation_models_pytorch",
        "albumentations",
    }
    assert "vocseg" in done.stdout


def test_user_error_goes_to_stderr_with_exit_code_2(here: Path) -> None:
    done = _vocseg(here, "fitt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vocseg: there is no command 'fitt'; do you mean fit?")


def test_closed_pipe_gives_no_traceback(here: Path) -> None:
    code = (
        "import os, sys\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "os.dup2(writer, 1)\n"
        "from vocseg.__main__ import console\n"
        "console()\n"
    )
    done = run(["--help"], here, code)
    assert (done.returncode, done.stderr) == (141, "")


TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


@pytest.mark.slow
def test_two_processes_train_and_score_as_one(sample: Path, here: Path) -> None:
    """7 validation images on 3 processes: fillers count nowhere, so matrices are equal to the bit.

    On two, `test_two_processes_save_the_predictions_of_one` scores them.
    """
    for done in run_together(["fit", *tiny(sample), "--data.batch_size", "2"], here, 2):
        assert done.returncode == 0, done.stderr
    weights = here / "lightning_logs/fit/version_0/unet_voc.pth"
    words = ["--ckpt_path", str(weights), "--data.root", str(sample), "--trainer.accelerator", "cpu"]
    for processes in (1, 3):
        for done in run_together(["test", *words, "--data.batch_size", "1"], here, processes):
            assert done.returncode == 0, done.stderr
            assert "duplicate" not in done.stderr
    _score_on_two_nodes(here, words)
    one, *several = (here / f"lightning_logs/test/version_{k}" for k in range(3))
    for other in several:
        check_equal_scores(one, other)
    assert [path.name for path in (here / "lightning_logs/fit").iterdir()] == ["version_0"]
    assert read_weights(weights).description["score"]["protocol"]["images"] == 7


def check_equal_scores(one: Path, other: Path) -> None:
    """Whether two runs of `test` scored alike, though on other numbers of processes."""
    a, b = (json.loads((folder / "scores.json").read_text()) for folder in (one, other))
    assert a["original_resolution"] == b["original_resolution"]
    assert a["calibration"] == b["calibration"]
    assert a["input_resolution"]["matrix"] == b["input_resolution"]["matrix"]
    assert a["input_resolution"]["protocol"] == b["input_resolution"]["protocol"]
    assert a["input_resolution"]["loss"] == pytest.approx(b["input_resolution"]["loss"], rel=1e-5)
    scores = [(folder / "per_image_confusion_original.npz").read_bytes() for folder in (one, other)]
    assert scores[0] == scores[1]


def _score_on_two_nodes(here: Path, words: list[str]) -> None:
    """Two nodes on this machine, started as a user would start them: the same command on each."""
    place = ["--master_addr", "127.0.0.1", "--master_port", str(free_port()), "--nnodes", "2"]
    flags = ["--data.batch_size", "1", "--trainer.num_nodes", "2", "--trainer.strategy", "ddp"]
    command = ["-m", "vocseg", "test", *words, *flags, "--trainer.devices", "1"]
    torchrun = "import runpy; runpy.run_module('torch.distributed.run', run_name='__main__', alter_sys=True)"
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                Forked([*place, "--nproc_per_node", "1", "--node_rank", rank, *command], here, torchrun)
            )
            for rank in "01"
        ]
        codes = [node.wait(240) for node in nodes]
        said = [node.out + node.err for node in nodes]
    assert codes == [0, 0], said
    assert "duplicate" not in said[0]


@pytest.mark.slow
def test_error_of_two_processes_ends_both_with_one_sentence(sample: Path, here: Path) -> None:
    start = time.monotonic()
    done = run(["fit", *tiny(sample), *TWO, "--data.max_train_samples", "99"], here, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("vocseg: 'train' has 20 images") == 1
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start < 110
