"""Files that are whole or absent: full disks, kills, leftovers, and every changed bit."""

import os
import random
import signal
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.forks import run
from tests.metrics.population import image_scores, population
from vocseg.errors import UserError
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.utils.atomic_write import AtomicFolder, UnwritableError, atomic_open, atomic_write
from vocseg.utils.safe_load import read_tensors, write_tensors

# More of them, for those who have the time: VOCSEG_KILLS=500 takes some four minutes.
KILLS = int(os.environ.get("VOCSEG_KILLS", "20"))

# One process that loads torch and forks, for each trial, another that saves: forking costs nothing.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from vocseg.utils.safe_load import read_tensors, write_tensors
folder, kills, readable = Path(sys.argv[1]), int(sys.argv[2]), 0
path, weights, draw = folder / "last.ckpt", torch.randn(5_000_000), random.Random(sys.argv[1])  # 20 MB
write_tensors({"state_dict": {"weight": weights}, "step": 0}, path)
for trial in range(kills):
    saver = os.fork()
    if saver == 0:
        for step in range(1_000_000):
            write_tensors({"state_dict": {"weight": weights}, "step": step}, path)
    time.sleep(draw.uniform(0.01, 0.3))  # a save takes about 0.1 s
    os.kill(saver, signal.SIGKILL)
    os.waitpid(saver, 0)
    content = read_tensors(path)  # ends with an error if it is damaged
    readable += torch.equal(content["state_dict"]["weight"], weights)
    assert len(os.listdir(folder)) <= 2, os.listdir(folder)  # and what this one may have left
if (saver := os.fork()) == 0:
    write_tensors({"step": "after"}, path)
    os._exit(0)
os.waitpid(saver, 0)
assert os.listdir(folder) == ["last.ckpt"], os.listdir(folder)
print(readable)
"""
FILLER = """
import os, resource, sys
from pathlib import Path
import torch
from vocseg.errors import UserError
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.utils.safe_load import write_tensors
path, tensors = Path(sys.argv[1]), {"state_dict": {"w": torch.zeros(3_000_000)}}
for budget in range(0, 14_000_000, 1_000_000):
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (budget, budget))  # as a disk that becomes full meanwhile
        try:
            write_tensors(tensors, path)
            print("saved", flush=True)
        except UserError as fault:
            print(fault, flush=True)
        os._exit(0)
    os.wait()
    print(path.stat().st_size, os.listdir(path.parent), flush=True)
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file like Lightning's, of about 100 kB."""
    torch.manual_seed(0)
    path = tmp_path / "last.ckpt"
    write_tensors(_content(torch.randn(150, 150)), path)
    return path


def _content(weight: torch.Tensor) -> dict[str, object]:
    return {
        "pytorch-lightning_version": "2.6.0",
        "epoch": 3,
        "global_step": 40,
        "state_dict": OrderedDict(weight=weight, bias=torch.zeros(3)),
        "optimizer_states": [{"state": {0: {"step": torch.tensor(4.0)}}}],
        "callbacks": {"best": {"score": 0.5, "path": None}},
    }


def _noticed(path: Path) -> bool:
    try:
        read_tensors(path)
    except UserError as fault:
        return str(path) in str(fault)
    return False


def test_file_with_checksum_is_readable_without_vocseg(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert content["epoch"] == 3
    assert content["state_dict"]["weight"].shape == (150, 150)
    mapped = torch.load(checkpoint, weights_only=True, mmap=True)
    assert torch.equal(mapped["state_dict"]["weight"], content["state_dict"]["weight"])
    assert zipfile.ZipFile(checkpoint).testzip() is None


def test_changed_bit_raises(checkpoint: Path) -> None:
    data, draw = checkpoint.read_bytes(), random.Random(0)
    bits = [draw.randrange(8 * len(data)) for _ in range(1000)]
    missed = []
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        checkpoint.write_bytes(changed)
        missed += [] if _noticed(checkpoint) else [bit]
    assert missed == []
    checkpoint.write_bytes(data)
    assert not _noticed(checkpoint)


def test_truncated_file_raises(checkpoint: Path) -> None:
    data = checkpoint.read_bytes()
    for length in [*range(0, len(data), 1024), *range(len(data) - 200, len(data))]:
        checkpoint.write_bytes(data[:length])
        assert _noticed(checkpoint), length
    checkpoint.write_bytes(data + b"\0")
    assert _noticed(checkpoint)


def test_file_without_digest_is_checked_by_crc(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(_content(torch.full((150, 150), 0.5)), path)
    assert not _noticed(path)
    data = path.read_bytes()
    at = data.index(torch.full((9,), 0.5).numpy().tobytes())
    for bit in random.Random(0).sample(range(8 * at, 8 * (at + 90_000)), 100):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert _noticed(path)


def test_damaged_scores_raise(tmp_path: Path) -> None:
    path, draw = tmp_path / "scores.npz", random.Random(0)
    image_scores(population(20, seed=0)).save(path)
    data = path.read_bytes()
    for bit in [draw.randrange(8 * len(data)) for _ in range(1000)]:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"scores.npz holds no per-image scores, or is damaged"):
            load_per_image_confusion(path)
    for length in range(0, len(data), 100):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"scores.npz"):
            load_per_image_confusion(path)
    path.write_bytes(data)
    assert len(load_per_image_confusion(path).ids) == 20


def test_failed_write_leaves_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    atomic_write(path, "old")

    def fail() -> None:
        with atomic_open(path) as file:
            file.write(b"ne")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.json"]


def test_unsafe_content_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    write_tensors({"a": 1}, path)
    with pytest.raises(UserError, match=r"x.ckpt was not written.*tensors and plain values"):
        write_tensors({"a": np.float64(1), "b": tmp_path}, path)
    assert read_tensors(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.ckpt"]


def test_link_and_long_name_are_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / ("n" * 250))
    atomic_write(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / ("n" * 250)).read_text() == "text"


def test_write_over_folder_or_pipe_raises(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(UnwritableError, match=f"{name} cannot be written .*folder, pipe or device"):
            atomic_write(tmp_path / name, "text")
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_temporary_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".last.ckpt.4000000.0.part"
    left.write_bytes(b"half")
    other = tmp_path / ".notes.part"
    other.touch()
    script = "import sys, time; from pathlib import Path; from vocseg.utils.atomic_write import atomic_open\n"
    script += "with atomic_open(Path(sys.argv[1])) as file: print(file.name, flush=True); time.sleep(60)"
    with _process(script, tmp_path / "live.ckpt") as writer:
        assert writer.stdout is not None
        live = Path(writer.stdout.readline().strip())
        assert not left.exists()  # it cleared what was there
        left.write_bytes(b"half")
        again = "import sys; from pathlib import Path; from vocseg.utils.atomic_write import atomic_write\n"
        again += "atomic_write(Path(sys.argv[1]), 'x')"
        with _process(again, tmp_path / "b.json") as second:
            assert second.wait() == 0
        assert live.exists()
        assert not left.exists()
        assert other.exists()
        writer.kill()


def test_full_disk_raises_and_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_tensors({"state_dict": {"w": torch.zeros(3)}}, path)
    before = path.stat().st_size
    with _process(FILLER, path) as filler:  # it prints into a pipe, as no file may grow
        lines = filler.communicate()[0].splitlines()
    assert filler.returncode == 0
    assert len(lines) == 28
    for said, found in zip(lines[:24:2], lines[1:24:2], strict=True):  # budgets below the 12 MB that it takes
        assert said.startswith(f"{path} cannot be written (File too large: ")
        assert "MB are free). Make room" in said
        assert said.endswith("The existing file is unchanged.")
        assert found == f"{before} ['last.ckpt']"
    assert lines[-2] == "saved"
    assert read_tensors(path)["state_dict"]["w"].shape == (3_000_000,)


@pytest.mark.slow
def test_kill_while_saving_leaves_valid_file(tmp_path: Path) -> None:
    done = run([str(tmp_path), str(KILLS)], ROOT, KILLER, timeout=600)
    assert done.stdout.split() == [str(KILLS)], done.stderr


def _process(script: str, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def _in_a_process(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("settled", [False, True])
def test_killed_process_leaves_no_folder(tmp_path: Path, settled: bool) -> None:
    def killed() -> None:
        folder = AtomicFolder(tmp_path / "found")
        folder.write("a.png", b"a")
        if settled:
            folder.settle()
        os.kill(os.getpid(), signal.SIGKILL)

    assert _in_a_process(killed) == -signal.SIGKILL
    assert not (tmp_path / "found").exists()


def test_processes_fill_one_folder_together(tmp_path: Path) -> None:
    mine = AtomicFolder(tmp_path / "found")

    def other() -> None:
        folder = AtomicFolder(tmp_path / "found")
        folder.write("b.png", b"b")
        folder.settle()

    assert _in_a_process(other) == 0
    mine.write("a.png", b"a")
    mine.settle()
    assert not (tmp_path / "found").exists()
    assert _in_a_process(mine.reveal) == 0
    mine.reveal()  # the other one came first
    assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == {
        "a.png": b"a",
        "b.png": b"b",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_files_are_synced_before_folder_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noting(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        assert not (tmp_path / "found").exists()
        sync(handle)

    folder = AtomicFolder(tmp_path / "found")
    folder.write("a.png", b"a")
    folder.write("b.png", b"b")
    monkeypatch.setattr(os, "fsync", noting)
    folder.settle()
    assert synced == ["a.png", "b.png", ".found.part"]


def test_dropped_folder_is_removed_and_old_folder_replaced(tmp_path: Path) -> None:
    folder = AtomicFolder(tmp_path / "found")
    folder.write("a.png", b"a")
    folder.drop()
    assert list(tmp_path.iterdir()) == []
    for content in (b"b", b"c"):
        folder = AtomicFolder(tmp_path / "found")
        folder.write("a.png", content)
        folder.settle()
        folder.reveal()
        folder.drop()  # too late
        assert (tmp_path / "found" / "a.png").read_bytes() == content
