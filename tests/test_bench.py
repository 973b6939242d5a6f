"""The scripts that measure: their tables, their figures, and that bare loops do what `fit` does."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import ROOT, TINY
from tests.forks import run
from tests.imitation import Imitation
from vocseg.models.module import SegmentationModule
from vocseg.performance import cuda_graph

BENCH = "import runpy; runpy.run_path('scripts/bench', run_name='__main__')"


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.mark.slow
def test_the_bench_prints_a_table_and_writes_its_figures(sample: Path, tmp_path: Path) -> None:
    words = ["data", "--root", str(sample), "--rounds", "1", "--json", str(tmp_path / "bench.json")]
    done = run(words, ROOT, BENCH)
    assert done.returncode == 0, done.stderr
    assert "times the notebook" in done.stdout
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["memcpy"]["share_of_memcpy"] == 1
    assert all(figure["images_per_s"] > 0 for figure in figures.values())


@pytest.mark.slow
def test_the_bench_of_scoring_counts_as_torch_does_and_writes_its_figures(tmp_path: Path) -> None:
    words = ["score", "--rounds", "1", "--images", "3", "--json", str(tmp_path / "bench.json")]
    done = run(words, ROOT, BENCH)
    assert done.returncode == 0, done.stderr
    assert "times torch" in done.stdout
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["one core: torch and torchmetrics"]["times_torch"] == 1
    assert len(figures) == 4


@pytest.mark.slow
def test_the_bench_of_training_tells_phases_peak_and_overhead_and_meets_a_baseline(tmp_path: Path) -> None:
    """The baseline is any program of that shape: here one that is done at once."""
    baseline, record = tmp_path / "baseline.py", tmp_path / "bench.json"
    baseline.write_text("import json\nprint(json.dumps({'epoch_s': 1.0, 'threads': 1}))\n")
    words = ["train", "--encoder", TINY, "--size", "64", "--steps", "1", "--rounds", "1", "--limit", "4"]
    words += ["--baseline", str(baseline), "--json", str(record), "--config", "fast"]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "share of it that forward and backward reach" in done.stdout
    figures = json.loads(record.read_text())
    assert figures["step"]["precision"] == "bf16-mixed"  # a flag of fit rules the bare loop too
    assert sum(figures["step"]["shares"].values()) == pytest.approx(1, abs=0.01)
    assert 0 < figures["step"]["fraction_of_conv_peak"] < 2
    assert figures["step"]["conv_peak_gflops"].keys() == {"fp32", "bf16"}
    assert figures["epochs"]["times_baseline"] == pytest.approx(1 / figures["epochs"]["epoch_s"])
    assert figures["step"]["bare_images_per_s"].keys() == {"computed"}  # what else there is wants a GPU
    assert figures["step"]["waits_per_step"] is None


@pytest.mark.slow
def test_the_check_of_a_gpu_rehearses_on_a_cpu(sample: Path, tmp_path: Path) -> None:
    record = tmp_path / "check.json"
    parts = ["peaks", "kernels", "scoring"]
    words = ["--root", str(sample), "--device", "cpu", "--json", str(record), "--only", *parts]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/gpu_check", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(record.read_text())
    assert figures["device"] == "cpu"
    for name in ("seed recipe, batch 4", "fast, batch 64"):
        ranked = [spent for spent, _, _ in figures["kernels"][name]["as it comes"]["kernels"]]
        assert ranked[0] > 0
        assert ranked == sorted(ranked, reverse=True)
    assert figures["scoring"]["original resolution"]["images"] > 0
    assert figures["scoring"]["predict"]["images_per_s"] > 0


def test_what_the_bench_of_training_cannot_do_is_a_sentence(tmp_path: Path) -> None:
    for words, said in (
        (["--baseline", str(tmp_path / "none.py")], "there is no such file"),
        (["--root", str(tmp_path)], "holds no VOCdevkit/VOC2012"),
        (["--rounds", "0"], "--rounds: '0' is no whole number from 1"),
        *(() if torch.cuda.is_available() else ((["--device", "cuda"], "torch finds no GPU here"),)),
    ):
        done = run(["train", *words], ROOT, BENCH)
        assert done.returncode == 2
        assert said in done.stderr


def _weights(replayed: bool) -> list[Tensor]:
    """After six steps of a bare loop."""
    from benches import machine, steps

    torch.manual_seed(0)
    module = SegmentationModule(encoder=TINY).train()
    random = torch.Generator().manual_seed(0)

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=random)
            yield {"image": image, "mask": image[:, 0] % 21, "index": torch.arange(2)}

    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    rest: tuple[Any, ...] = (
        *(optimizer, batches()),
        *(SimpleNamespace(forward_context=nullcontext), machine.Clock("cpu")),
    )

    def forward(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits = module(image)
        return logits, module.loss(logits, mask).loss

    graphs = steps.CudaGraphCache()
    for _ in range(6):
        if replayed:
            marks = steps.replayed_step(module.network, module._compute, graphs, *rest)
        else:
            marks = steps.computed_step(module, forward, *rest)
        assert marks == sorted(marks)
    return [each.detach().clone() for each in module.parameters()]


def test_bare_loops_learn_the_same_replayed_or_computed(
    benches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graph, "StepGraph", Imitation)
    computed = _weights(replayed=False)
    Imitation.made, Imitation.replays = [], 0
    for one, other in zip(computed, _weights(replayed=True), strict=True):
        assert torch.equal(one, other)
    assert Imitation.replays == 3


def test_lines_that_wait_for_a_gpu_are_counted_by_the_step(
    benches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benches.machine import Waits

    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    waits = Waits(after=2)
    for index in range(6):
        waits.on_train_batch_start(None, None, None, index)
        if index >= 2:
            warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "a/loop.py", 7)
        if index == 4:
            warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "a/log.py", 9)
            warnings.warn_explicit("something else", UserWarning, "a/log.py", 10)
    waits.on_train_epoch_end()
    assert waits.told() == {"loop.py:7": 1.0, "log.py:9": 0.25}
    assert modes == ["warn", "default"]
