"""Per-image confusion matrices and their file."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.metrics.population import image_scores, population
from vocseg.errors import UserError
from vocseg.metrics.per_image import load_per_image_confusion


@pytest.fixture(scope="module")
def matrices() -> np.ndarray:
    return population(1449, seed=0)


@pytest.mark.parametrize("banded", [False, True])
def test_file_round_trip_is_exact_and_small(matrices: np.ndarray, tmp_path: Path, banded: bool) -> None:
    scores = image_scores(matrices, band=matrices // 3 if banded else None)
    scores.save(tmp_path / "scores.npz")
    read = load_per_image_confusion(tmp_path / "scores.npz")
    assert np.array_equal(read.matrices, matrices)
    assert read.matrices.dtype == np.int64
    assert (read.ids, read.protocol, read.classes) == (scores.ids, scores.protocol, scores.classes)
    assert read.band is None if not banded else np.array_equal(read.band, matrices // 3)  # type: ignore[arg-type]
    assert np.array_equal(read.total(), matrices.sum(0))
    assert (tmp_path / "scores.npz").stat().st_size < 300_000
    scores.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "scores.npz").read_bytes()


def _with_facts(path: Path, **changes: object) -> None:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    facts = json.loads(str(arrays["facts"])) | changes
    np.savez(path, **arrays | {"facts": np.array(json.dumps(facts))})


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


SPOILT = {
    "missing": (lambda path: path.unlink(), "cannot be opened: No such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be opened: it is not a regular file"),
    "text": (lambda path: path.write_text("mean IoU 56"), "no per-image scores, or is damaged"),
    "a bit flipped": (_flip, "no per-image scores, or is damaged"),
    "another archive": (lambda path: np.savez(path, a=np.zeros(3)), "no per-image scores, or is damaged"),
    "pickled": (
        lambda path: np.savez(path, facts=np.array([{}], object), allow_pickle=True),
        "no per-image scores, or is damaged",
    ),
    "newer protocol": (lambda path: _with_facts(path, protocol={"flipped": True}), "or is damaged"),
    "control characters": (lambda path: _with_facts(path, ids=["\x1b[2J"] * 9), "is not printable"),
    "an id twice": (lambda path: _with_facts(path, ids=["a"] * 9), "damaged .*each only once"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_damaged_scores_file_raises(matrices: np.ndarray, tmp_path: Path, name: str) -> None:
    spoil, words = SPOILT[name]
    path = tmp_path / "a.npz"
    image_scores(matrices[:9]).save(path)
    spoil(path)
    with pytest.raises(UserError, match=words) as refusal:
        load_per_image_confusion(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": ("a", "a")}, "each only once"),
        ({"ids": ("a",)}, "not integers"),
        ({"classes": ("background",)}, "not integers"),
        ({"matrices": np.ones((2, 21, 21))}, "float64"),
        ({"matrices": -np.ones((2, 21, 21), int)}, "negative"),
        ({"band": np.full((2, 21, 21), 10**9)}, "band holds more"),
    ],
)
def test_inconsistent_parts_raise(matrices: np.ndarray, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        image_scores(matrices[:2], **changes)
