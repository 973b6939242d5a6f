"""What the machine does to a run is said in a sentence; a bug keeps its traceback."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import refused, tiny
from tests.forks import run
from vocseg.config.error_messages import to_user_error
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ([], "--data.batch_size 2 --trainer.accumulate_grad_batches 2\n"),
        (
            ["--data.batch_size", "3", "--trainer.accumulate_grad_batches", "2"],
            "--data.batch_size 1 --trainer.accumulate_grad_batches 6\n",
        ),
        (["--data.batch_size", "1", "--data.image_size", "96"], "a smaller --data.image_size than 96"),
    ],
)
def test_out_of_gpu_memory_raises_with_flags_that_keep_global_batch(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, flags: list[str], remedy: str
) -> None:
    def step(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(SegmentationModule, "training_step", step)
    said = refused(capsys, ["fit", *tiny(sample), "--trainer.num_sanity_val_steps", "0", *flags])
    assert said.startswith("vocseg: the GPU does not have enough memory for a batch of ")
    assert remedy in said
    assert said.count("\n") == 1


def test_batchnorm_with_single_value_raises(sample: Path, here: Path, capsys: Capture) -> None:
    """DeepLab pools each image to one pixel, and normalises that."""
    words = ["fit", *tiny(sample), "--model.arch", "deeplabv3plus", "--data.batch_size", "1"]
    said = refused(capsys, words)
    assert "from this batch of 1 images at 64x64, and cannot train on one. Use a larger" in said
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_out_of_cpu_memory_raises(sample: Path, here: Path) -> None:
    """A real one: the process may have 300 MB more than it has once everything is imported."""
    script = (
        "import resource, vocseg.cli\n"
        "from vocseg.__main__ import main\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (300 << 20),) * 2)\n"
        f"main({['fit', *tiny(sample), '--data.image_size', '512', '--data.cache', 'false']!r})\n"
    )
    done = run([], here, script)
    assert done.returncode == 2, done.stderr
    assert "vocseg: the machine does not have enough memory for a batch of 4 images at 512x512" in done.stderr
    assert "--data.batch_size 2" in done.stderr
    assert "Traceback" not in done.stderr


KNOWN = {
    "killed": ("DataLoader worker (pid 12) is killed by signal: Killed. ", "--data.num_workers 0"),
    "bus error": (
        "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's workers "
        "are out of shared memory. Please try to raise your shared memory limit.",
        "/dev/shm has no room",
    ),
    "shm": (
        "unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device (28)",
        "--shm-size",
    ),
    "gloo": (
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:2",
        "another process",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_torch_error_is_translated(name: str) -> None:
    text, words = KNOWN[name]
    known = to_user_error(RuntimeError(text))
    assert known is not None
    assert words in known.sentence


@pytest.mark.parametrize(
    "bug", [KeyError("batch"), RuntimeError("shape '[2]' is invalid"), ValueError(""), OSError(28, "disk")]
)
def test_unknown_exception_is_not_translated(bug: Exception) -> None:
    assert to_user_error(bug) is None


@pytest.mark.parametrize("fault", [ConnectionResetError(104), EOFError(), FileNotFoundError(2, "socket")])
def test_dataloader_worker_lost_while_batch_is_fetched_raises(fault: Exception) -> None:
    """By the name of the function in which torch fetches; elsewhere, the same fault is another matter."""

    def rebuild_storage_fd() -> None:
        raise fault

    assert to_user_error(fault) is None
    with pytest.raises(type(fault)):
        rebuild_storage_fd()
    known = to_user_error(fault)
    assert known is not None
    assert "a DataLoader worker has ended or was killed" in known.sentence
    assert "--data.num_workers 0" in known.sentence
    assert rebuild_storage_fd.__name__ in dir(torch.multiprocessing.reductions)
