"""Every command in the README is run: in order, in one folder, small where it would be costly."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, TINY
from tests.forks import run
from vocseg.__main__ import TOOLS, VERBS, main
from vocseg.data.sample import write_sample
from vocseg.voc import CLASSES

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [line for line in LINES if line and not line.startswith("#")]
BENCH = "import runpy; runpy.run_path('scripts/bench', run_name='__main__')"

SMALL = ["--trainer.limit_train_batches", "2", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
# What a test machine lacks, or what would take hours there, and what stands for it.
REPLACED = {
    "--trainer.devices": "1",
    "--trainer.num_nodes": "1",
    "--trainer.strategy": "auto",
    "--trainer.precision": "32-true",
    "--data.root": "data",
    "--data.image_folder": "JPEGImages",
    "--data.image_suffix": ".jpg",
    "--data.train_images": "8",
    "--data.val_images": "4",
    "--largest": "4",
}


def _small(words: list[str]) -> list[str]:
    """The same command on the sample set, with a tiny network and two steps an epoch."""
    small = [REPLACED.get(words[k - 1], word) for k, word in enumerate(words)]
    if words[0] in ("fit", "tune"):
        small += ["--model.encoder", TINY, "--model.encoder_weights", "null", "--data.size", "64"]
    if words[0] == "tune":
        return [*small, "--steps", "30", "--trainer.accelerator", "cpu"]
    if words[0] == "finetune":
        small += ["--data.train_images", "8", "--data.val_images", "4"]
    return [
        *small,
        *(SMALL if words[0] in VERBS and words[0] != "resume" else []),
    ]


def _break_off(run: Path) -> None:
    """Let a run that is finished look as if it was stopped at the end of its last epoch."""
    path = run / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["vocseg_run"]["finished"] = False
    torch.save(checkpoint, path)


def test_the_readme_has_the_commands_a_newcomer_needs() -> None:
    assert COMMANDS[:2] == ["scripts/demo", "scripts/test"]
    assert {command.split()[3] for command in COMMANDS if command.startswith("python -m vocseg ")} >= {
        *VERBS,
        "sample",
    }


def test_scripts_in_the_readme_exist() -> None:
    for command in COMMANDS:
        if command.startswith("scripts/"):
            assert (ROOT / command.split()[0]).stat().st_mode & 0o100


def test_only_known_programs_are_called() -> None:
    known = ("python -m vocseg ", "scripts/", "tensorboard ", "torchrun ")
    assert [command for command in COMMANDS if not command.startswith(known)] == []


@pytest.mark.slow
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "data", train=12, val=5, progress=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    picture = next((tmp_path / "data/VOCdevkit/VOC2012/JPEGImages").iterdir())
    (tmp_path / "photos" / picture.name).write_bytes(picture.read_bytes())
    for command in COMMANDS:
        if not command.startswith("python -m vocseg "):
            continue
        words = shlex.split(command)[3:]
        if words[0] == "compare":  # needs a second run, scored in the same way
            shutil.rmtree("lightning_logs/test/version_1", ignore_errors=True)
            shutil.copytree("lightning_logs/test/version_0", "lightning_logs/test/version_1")
        if words[0] == "resume":
            _break_off(Path(words[1]))
            words += ["--trainer.max_epochs", "2"]
        if words[0] in ("download", "sample") or words == ["fit", "--help"]:
            with pytest.raises(SystemExit) as exit:
                main([words[0], "--help"])
            assert exit.value.code == 0
        elif words[0] in TOOLS or words[0] in VERBS:
            main(_small(words) if words[0] in VERBS else words)


def test_links_and_pictures_in_the_readme_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_test_that_the_readme_names_exists() -> None:
    there = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", README))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in there} == set()


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
