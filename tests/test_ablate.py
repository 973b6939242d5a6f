"""The script `ablate`: rows, runs and the table."""

import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import ROOT, TINY
from tests.forks import run
from vocseg.__main__ import main

ROWS = {
    "flags": {
        "model.encoder": TINY,
        "model.encoder_weights": None,
        "data.image_size": 64,
        "trainer.max_epochs": 1,
    },
    "rows": {
        "first": {},
        "slower": {"from": "first", "model.lr": 1.0e-5},
        "first, with flips": {"from": "first", "test": {"tta.flip": True}},
    },
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    loader = SourceFileLoader("ablate", str(ROOT / "scripts/ablate"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    exec(compile(loader.get_data(loader.path), loader.path, "exec"), module.__dict__)
    return module


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump(ROWS, sort_keys=False))
    return path


def _run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ablate", *map(str, words)])
    return int(script.main())


def test_packaged_rows_inherit_flags(script: ModuleType) -> None:
    rows = script.read_rows(ROOT / "scripts/ablation.yaml")
    cycle = rows["one-cycle"].fit
    assert rows["class weights"].fit == {**cycle, "model.loss.class_weights": "balanced"}
    assert rows["seed recipe"].fit["data.batch_size"] == 4
    assert rows["all, with flips"].trained_as == "all"
    assert rows["all, with flips"].test == {"tta.flip": True}


@pytest.mark.parametrize("name", ["ablation", "study_666"])
def test_packaged_rows_are_accepted_by_fit(script: ModuleType, name: str) -> None:
    for row in script.read_rows(ROOT / f"scripts/{name}.yaml").values():
        with pytest.raises(SystemExit) as end:
            main(["fit", *script.flags(row.fit), "--print_config"])
        assert end.value.code in (0, None)


def test_second_call_runs_only_what_is_missing(
    script: ModuleType,
    rows: Path,
    sample: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[tuple[str, str]] = []

    def called(folder: Path, *words: str) -> None:
        done.append((words[0], folder.relative_to(here / "out").as_posix()))
        main(list(words))

    monkeypatch.setattr(script, "vocseg", called)
    words = ["--out", here / "out", "--rows", rows, "--seeds", 0, 1, "--data.root", sample]
    words += ["--trainer.accelerator", "cpu", "--data.max_train_samples", 8, "--data.max_val_samples", 3]
    assert _run(script, monkeypatch, *words) == 0
    assert [verb for verb, _ in done] == ["fit"] * 4 + ["test"] * 6
    said = capsys.readouterr().out
    assert "first, with flips" in said
    seeds = [here / f"out/first/seed_{seed}/lightning_logs/fit/version_0/unet_voc.pth" for seed in (0, 1)]
    states = [torch.load(each, weights_only=True)["state_dict"] for each in seeds]
    assert any(not torch.equal(value, states[1][key]) for key, value in states[0].items())

    done.clear()
    (here / "out/slower/seed_1/trained").unlink()  # as if it had been killed; `last.ckpt` says it is whole
    resumed: list[Any] = []
    monkeypatch.setattr(script, "vocseg", lambda folder, *each: resumed.append(each[:2]))
    assert _run(script, monkeypatch, *words) == 0
    run = here / "out/slower/seed_1/lightning_logs/fit/version_0"
    assert resumed == [("resume", str(run))]


def test_failed_run_is_named(
    script: ModuleType,
    rows: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def forked(line: list[str], stdout: Any, **_: Any) -> Any:
        done = run(line[3:], here, "import sys\nfrom vocseg.__main__ import main\nmain(sys.argv[1:])")
        stdout.write(done.stderr)
        return done

    monkeypatch.setattr(script, "subprocess", SimpleNamespace(run=forked, DEVNULL=None, STDOUT=None))
    words = ["--out", here / "out", "--rows", rows, "--only", "slower", "--data.image_size", "nonsense"]
    assert _run(script, monkeypatch, *words) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "FAILED slower, seed 0" in said
    assert "fit ended with 2: vocseg: " in said
    assert "there are no weights to score" in said


def test_unknown_row_is_refused(
    script: ModuleType, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        _run(script, monkeypatch, "--out", rows.parent / "out", "--rows", rows, "--only", "nonsense")
    assert end.value.code == 2
    assert "--only nonsense: no such row; there are first, slower" in capsys.readouterr().err
