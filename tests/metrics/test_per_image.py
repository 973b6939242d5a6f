"""Per-image confusion matrices and their file."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.metrics.population import PROTOCOL, image_scores, population
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
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_large_counts_and_many_classes_round_trip(tmp_path: Path) -> None:
    matrices = np.zeros((2, 300, 300), np.int64)
    matrices[1, 299, 298] = 2**40
    names = tuple(f"class {k}" for k in range(300))
    image_scores(matrices, classes=names).save(tmp_path / "a.npz")
    assert np.array_equal(load_per_image_confusion(tmp_path / "a.npz").matrices, matrices)


def test_equal_scores_give_equal_bytes(matrices: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        image_scores(matrices[:9]).save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_failed_write_leaves_old_file(
    matrices: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_scores(matrices[:9]).save(tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        image_scores(matrices[:5]).save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def _with_facts(path: Path, **changes: object) -> None:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    facts = json.loads(str(arrays["facts"])) | changes
    np.savez(path, **arrays | {"facts": np.array(json.dumps(facts))})


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


PLAIN = {"split": "val", "images": 1449, "fingerprint": "f", "size": 256}
SPOILT = {
    "missing": (lambda path: path.unlink(), "cannot be opened: No such file"),
    "empty": (lambda path: path.write_bytes(b""), "no per-image scores, or is damaged"),
    "text": (lambda path: path.write_text("mean IoU 56"), "no per-image scores, or is damaged"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:700]), "no per-image scores, or is damaged"),
    "a bit flipped": (_flip, "no per-image scores, or is damaged"),
    "another archive": (lambda path: np.savez(path, a=np.zeros(3)), "no per-image scores, or is damaged"),
    "one array": (lambda path: np.save(path.open("wb"), np.zeros(3)), "no per-image scores, or is damaged"),
    "pickled": (
        lambda path: np.savez(path, facts=np.array([{}], object), allow_pickle=True),
        "no per-image scores, or is damaged",
    ),
    "zip": (lambda path: zipfile.ZipFile(path, "w").writestr("x", "y"), "no per-image scores, or is damaged"),
    "newer format": (lambda path: _with_facts(path, format=2), "written by a newer vocseg. Update"),
    "newer protocol": (
        lambda path: _with_facts(path, protocol=PLAIN | {"flipped": True}),
        "written by a newer vocseg: its protocol has 'flipped'. Update",
    ),
    "older protocol": (
        lambda path: _with_facts(path, protocol={"split": "val"}),
        "written by an older vocseg: its protocol has no 'fingerprint'",
    ),
    "an id twice": (lambda path: _with_facts(path, ids=["a"] * 9), "damaged .*each only once"),
    "an id too few": (lambda path: _with_facts(path, ids=["a"]), "damaged"),
    "a class too few": (lambda path: _with_facts(path, classes=["a"]), "damaged"),
    "no protocol": (lambda path: _with_facts(path, protocol=None), "damaged"),
}


def test_file_without_tta_field_has_defaults(matrices: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    image_scores(matrices[:9]).save(path)
    _with_facts(path, protocol=PLAIN)
    protocol = load_per_image_confusion(path).protocol
    assert (protocol.tta, protocol.windows) == (None, None)


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
    assert PROTOCOL.images == 1449
