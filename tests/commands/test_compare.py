"""Command `compare`."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.conftest import refused
from tests.metrics.population import PROTOCOL, image_scores, population, worse
from vocseg.__main__ import main
from vocseg.commands.compare import compare
from vocseg.config.parser import positional_to_flag
from vocseg.data.audit.command import audit
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.per_image import load_per_image_confusion

Capture = pytest.CaptureFixture[str]
BASE = population(60, seed=6)
ORIGINAL, NETWORK = "per_image_confusion_original.npz", "per_image_confusion_network.npz"


@pytest.fixture
def runs(here: Path) -> Path:
    """A working folder with runs a1, a2, b1 and b2; b2 was scored at the network's size alone."""
    for k, name in enumerate(("a1", "a2", "b1", "b2")):
        (here / name).mkdir()
        for file in (ORIGINAL, NETWORK):
            if (name, file) != ("b2", ORIGINAL):
                amount = 0.05 * k + (0.5 if file == NETWORK else 0)
                image_scores(worse(BASE, amount, seed=k)).save(here / name / file)
    return here


def test_positional_runs_are_compared_with_first(runs: Path, capsys: Capture) -> None:
    assert main(["compare", "a1", "a2", "b1", "--images", "3"]) is None
    text = capsys.readouterr().out
    assert "A: a1\nB: a2\n" in text
    assert "A: a1\nC: b1\n" in text
    assert "C is clearly worse than A" in text
    assert text.endswith("next     python -m vocseg report a1 a2 b1\n")


def test_json_file_or_output_has_all_results(runs: Path, capsys: Capture) -> None:
    main(["compare", "a1", "b1", "--json", "-", "--num_bootstrap", "300"])
    printed = capsys.readouterr().out
    main(["compare", "a1", "b1", "--json", "out/found.json", "--num_bootstrap", "300"])
    assert (runs / "out" / "found.json").read_text() == printed
    (found,) = json.loads((runs / "out" / "found.json").read_text())["comparisons"]
    assert (found["names"], found["runs"]) == (["a1", "b1"], [1, 1])
    assert found["protocols"][1]["fingerprint"] == PROTOCOL.fingerprint
    difference = found["mean_iou"]["difference"]
    assert difference["low"] <= difference["estimate"] <= difference["high"]
    assert found["mean_iou"]["better"] < 0.025
    assert len(found["class_iou"]) == 21
    assert len(found["images"]) == 60
    assert {path.name for path in (runs / "out").iterdir()} == {"found.json"}


def test_same_run_twice_is_exactly_zero(runs: Path) -> None:
    (found,) = compare(["a1", f"a1/{ORIGINAL}"])
    assert {each.difference.high for each in found.measures.values()} == {0}


def test_comma_joined_runs_are_one_group(runs: Path) -> None:
    (found,) = compare(["a1,a2", "b1, b2"])
    assert found.runs == (2, 2)
    assert found.seed_spread is not None
    (runs / "a1").rename(runs / "a,1")  # an existing name
    (found,) = compare(["a,1", "b1"])
    assert found.runs == (1, 1)


def test_original_resolution_is_preferred(runs: Path) -> None:
    (original,), (network,) = compare(["a1", "b1"]), compare(["a1", "b2"])
    assert original.measures["mean_iou"].before == _mean_iou(runs / "a1" / ORIGINAL)
    assert network.measures["mean_iou"].before == _mean_iou(runs / "a1" / NETWORK)


def _mean_iou(path: Path) -> float | None:
    return score_intervals(load_per_image_confusion(path), 100).measures["mean_iou"].estimate


REFUSED = {
    "one run": (["a1"], ["needs at least two runs", "compare A B"]),
    "no such member": (["a1", "b1,b7"], ["b1,b7: there is no run 'b7'"]),
    "a comma too many": (["a1,", "b1"], ["a1,: there is no run '.'"]),
    "nothing in common": (
        ["only", "b2"],
        ["no file of per-image scores", f"only has no {NETWORK}"],
    ),
    "other data": (["a1", "other"], ["a1 and other cannot be compared", "fingerprint", "'ff'", "0123456789"]),
    "a group of other data": (["a1", "b1,other"], ["a1 and b1,other cannot be compared", "fingerprint"]),
    "damaged": (["a1", "bad.npz"], ["bad.npz holds no per-image scores, or is damaged"]),
    "few resamples": (["a1", "b1", "--num_bootstrap", "5"], ["--num_bootstrap 5"]),
    "negative": (["a1", "b1", "--images", "-1"], ["--images", "-1"]),
    "no place for JSON": (
        ["a1", "b1", "--json", "bad.npz/x.json"],
        ["bad.npz/x.json cannot be written"],
    ),
    "across what": (["a1", "b1", "--allow_different", "fingerprint"], ["--allow_different", "fingerprint"]),
    "misspelt flag": (["a1", "b1", "--jsn", "x"], ["--jsn", "--json"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_compare_arguments_raise(runs: Path, capsys: Capture, name: str) -> None:
    for folder in ("empty", "only", "other"):
        (runs / folder).mkdir()
    image_scores(BASE).save(runs / "only" / ORIGINAL)
    image_scores(BASE, protocol=dataclasses.replace(PROTOCOL, fingerprint="ff")).save(
        runs / "other" / ORIGINAL
    )
    (runs / "bad.npz").write_text("x")
    words, parts = REFUSED[name]
    said = refused(capsys, ["compare", *words])
    assert said.count("\n") == 1
    assert all(part in said for part in parts), said


def test_only_list_flags_take_several_positionals() -> None:
    assert positional_to_flag(["a", "b", "--seed", "3"], ["runs"], compare) == [
        "--runs=a",
        "--runs=b",
        "--seed",
        "3",
    ]
    assert positional_to_flag(["data", "more"], ["root"], audit) == ["--root=data", "more"]
    assert positional_to_flag(["--runs", "a"], ["runs"], compare) == ["--runs", "a"]
