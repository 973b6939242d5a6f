"""The scripts `bench` and `gpu_check`: tables, results, bare loops."""

import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, TINY
from tests.forks import run

SCRIPT = "import runpy, sys; sys.path.insert(0, 'scripts'); runpy.run_path('scripts/{}', run_name='__main__')"


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make `scripts/` importable, and the convolution of the peak small."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benches import machine

    monkeypatch.setattr(machine, "IMAGES", (1, 64, 32, 32))
    monkeypatch.setattr(machine, "KERNELS", (64, 64, 3, 3))
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels, threads = [logger.level for logger in loggers], torch.get_num_threads()
    yield
    torch.set_num_threads(threads)  # which `bench train` sets, as it does the levels
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _bench(words: list[str]) -> "subprocess.CompletedProcess[str]":
    return run(words, ROOT, SCRIPT.format("bench"))


def test_bench_starts_by_its_name_in_any_folder(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "scripts/bench", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "scripts/bench data" in done.stdout


def test_bench_data_prints_table_and_medians(
    benches: None,
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benches import data

    monkeypatch.setattr(data, "SECONDS", 0.01)
    results = data.report(data.bench_data(sample, 1, tmp_path))
    assert "times the notebook" in capsys.readouterr().out
    assert results["memcpy"]["fraction_of_memcpy"] == 1
    assert all(each["images_per_s"] > 0 for each in results.values())


@pytest.mark.slow
def test_bench_train_measures_phases_peak_overhead_and_baseline(
    benches: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benches import epochs, train

    baseline, record = tmp_path / "baseline.py", tmp_path / "bench.json"
    baseline.write_text("import json\nprint(json.dumps({'epoch_s': 1.0, 'threads': 1}))\n")
    words = ["--encoder", TINY, "--size", "64", "--steps", "1", "--rounds", "1", "--limit", "4"]
    words += ["--baseline", str(baseline), "--json", str(record), "--config", "fast"]

    def forked(line: list[str], **how: Any) -> Any:
        return _bench(line[2:]) if line[1].endswith("scripts/bench") else subprocess.run(line, **how)

    monkeypatch.setattr(epochs, "subprocess", SimpleNamespace(run=forked))
    train.main(words)
    assert "fraction of it that forward and backward reach" in capsys.readouterr().out
    results = json.loads(record.read_text())
    step = results["step"]
    assert step["precision"] == "bf16-mixed"  # a flag of fit applies to the bare loop too
    assert sum(step["fractions"].values()) == pytest.approx(1, abs=0.01)
    assert 0 < step["fraction_of_conv_peak"] < 2
    assert step["conv_peak_gflops"].keys() == {"fp32", "bf16"}
    assert results["epochs"]["times_baseline"] == pytest.approx(1 / results["epochs"]["epoch_s"])
    assert step["bare_images_per_s"].keys() == {"computed"}  # the others need a GPU
    assert step["waits_per_step"] is None


@pytest.mark.slow
def test_gpu_check_on_cpu_writes_results(sample: Path, tmp_path: Path) -> None:
    record = tmp_path / "check.json"
    words = ["--root", str(sample), "--device", "cpu", "--json", str(record)]
    words += ["--only", "peaks", "kernels", "scoring"]
    done = run(words, ROOT, SCRIPT.format("gpu_check"))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(record.read_text())
    assert results["device"] == "cpu"
    for name in ("seed recipe, batch 4", "fast, batch 64"):
        ranked = [spent for spent, _, _ in results["kernels"][name]["as it comes"]["kernels"]]
        assert ranked[0] > 0
        assert ranked == sorted(ranked, reverse=True)
    assert results["scoring"]["original resolution"]["images"] > 0
    assert results["scoring"]["predict"]["images_per_s"] > 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--baseline", "none.py"], "there is no such file"),
        (["--root", "nowhere"], "holds no VOCdevkit/VOC2012"),
        (["--device", "cuda"], "torch finds no GPU here"),
    ],
)
def test_invalid_flag_of_bench_train_is_refused(
    benches: None, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    from benches import train

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as end:
        train.main(words)
    assert end.value.code == 2
    assert text in capsys.readouterr().err
