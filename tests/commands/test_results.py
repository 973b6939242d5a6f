"""Closing lines and printed output of commands."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from jsonargparse import Namespace

from tests.conftest import refused, tiny
from tests.forks import ENVIRONMENT
from vocseg.__main__ import main
from vocseg.commands.results import closing_lines
from vocseg.loggers import filter_warnings

Capture = pytest.CaptureFixture[str]
DATA = {"root": Path("data"), "classes": None, "image_folder": "JPEGImages", "image_suffix": None}


def _lines(verb: str, folder: Path, **data: object) -> list[str]:
    return closing_lines(verb, folder, Namespace(data=Namespace(**{**DATA, **data})))


def _run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "unet_voc.pth").touch()
    return folder


def test_fit_prints_commands_with_its_weights(here: Path) -> None:
    run = _run(Path("lightning_logs/fit/version_0"))
    assert _lines("fit", run) == [
        f"weights  {run}/unet_voc.pth",
        f"results  {run}  (panels.png, metrics.csv, config.yaml, checkpoints)",
        f"next     python -m vocseg test --ckpt_path {run}/unet_voc.pth",
        f"         python -m vocseg predict --ckpt_path {run}/unet_voc.pth --data.predict_dir FOLDER",
        f"         python -m vocseg report {run}",
    ]


def test_next_command_has_non_default_data_flags(here: Path) -> None:
    run = _run(Path("my runs/version_0"))
    line = _lines("fit", run, root=Path("my set"), classes="c.txt", image_suffix=".png")[2]
    assert line == (
        "next     python -m vocseg test --ckpt_path 'my runs/version_0/unet_voc.pth' --data.root 'my set' "
        "--data.classes c.txt --data.image_suffix .png"
    )
    drawn = _lines("fit", run, val_fraction=0.2, train_split="all", mask_values=[0, 255])[2]
    assert drawn.endswith("--data.mask_values '[0, 255]' --data.val_fraction 0.2 --data.train_split all")


def test_second_score_suggests_comparison(tmp_path: Path) -> None:
    first, second = tmp_path / "version_0", tmp_path / "version_1"
    first.mkdir()
    assert not any("compare" in line for line in _lines("test", second))
    (first / "scores.json").touch()
    assert f"next     python -m vocseg compare {first} {second}" in _lines("test", second)
    assert not any("compare" in line for line in _lines("test", first))


def test_best_checkpoint_of_newest_run_and_next_command_work(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    shutil.copytree(trained, here / "lightning_logs/fit/version_3")
    words = ["--data.root", str(sample), "--trainer.accelerator", "cpu", "--data.max_val_samples", "2"]
    main(["test", "--ckpt_path", "best", *words, "--trainer.enable_progress_bar", "false"])
    said = capsys.readouterr().out
    assert said.startswith("best: lightning_logs/fit/version_3/best.ckpt\n")
    scores = json.loads(Path("lightning_logs/test/version_0/scores.json").read_text())
    assert scores["weights"]["path"] == str(here / "lightning_logs/fit/version_3/best.ckpt")
    results, following = said.splitlines()[-2:]
    assert results.startswith("results  lightning_logs/test/version_0  (scores.json")
    assert following == "next     python -m vocseg report lightning_logs/test/version_0"
    main(shlex.split(following)[4:])
    assert Path("report.html").is_file()


def test_best_without_run_raises(here: Path, capsys: Capture) -> None:
    said = refused(capsys, ["predict", "--ckpt_path", "best"])
    assert "--ckpt_path best: no run in lightning_logs has a best.ckpt. Train one with fit" in said


def test_terminal_has_no_library_notices(sample: Path, here: Path) -> None:
    """In a process of its own, as pytest keeps warnings back; `resume` passes its flags in this way too."""
    words = ["fit", *tiny(sample), "--data.image_size", "32", "--data.verify_files", "false"]
    code = f"from vocseg.__main__ import main; main({words!r})"
    done = subprocess.run(
        [sys.executable, "-c", code, "word"],
        cwd=here,
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for notice in ("Seed set", "available", "Trainer.fit", "Warning", "lightning/pytorch"):
        assert notice not in done.stdout
    folder = Path("lightning_logs/fit/version_0")  # relative, as it was printed
    assert done.stdout.endswith("\n".join(_lines("fit", folder, root=sample)) + "\n")


def test_own_warnings_have_no_code_location(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # as it was, at the end
    with warnings.catch_warnings():
        for _ in range(2):
            filter_warnings()
    texts = ("vocseg: x is left out", "other")
    lines = [warnings.formatwarning(UserWarning(text), UserWarning, "<string>", 1) for text in texts]
    assert lines == ["vocseg: x is left out\n", "<string>:1: UserWarning: other\n"]
