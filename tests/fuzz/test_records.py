"""Scores of earlier runs, after any damage."""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import PLAIN, TEXT, VALUES, files, limits, value_or_sentence
from tests.metrics.population import PROTOCOL, image_scores, population
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.per_image import load_per_image_confusion, sparse

JSON = VALUES.map(lambda value: json.dumps(value).encode()) | st.sampled_from([b"[" * 99_999, b"9" * 9_999])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


def _scores() -> dict[str, npt.NDArray[Any]]:
    """The arrays of a sound file."""
    matrices = population(3, seed=0)
    scores = image_scores(matrices, band=matrices // 3)
    facts = {"format": 1, "protocol": asdict(PROTOCOL), "classes": scores.classes, "ids": scores.ids}
    arrays = {"facts": np.array(json.dumps(facts))}
    return {**arrays, **sparse("matrices", matrices), **sparse("band", matrices // 3)}


def _npz(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _bomb() -> bytes:
    """600 MB of zeros in half a megabyte: none of them may be unpacked."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))
    return stream.getvalue()


SCORES = _scores()
NPZ = _npz(SCORES)


def _load(folder: Path, data: bytes) -> None:
    path = folder / "per_image_confusion_original.npz"
    path.write_bytes(data)
    scores = value_or_sentence(lambda: load_per_image_confusion(path), path.name)
    if scores is not None:
        with limits():
            assert scores.matrices.min() >= 0
            assert all(name.isprintable() for name in (*scores.ids, *scores.classes, str(scores.protocol)))
            score_intervals(scores, 100)


@given(files([NPZ]))
@example(_bomb())
def test_scores_of_any_bytes_are_read_or_refused(folder: Path, data: bytes) -> None:
    _load(folder, data)


ODD_ARRAYS = st.one_of(
    st.lists(st.integers(-3, 2**32), max_size=6).map(lambda values: np.array(values, np.int64)),
    st.lists(st.integers(0, 2**32 - 1), max_size=6).map(lambda values: np.array(values, np.uint32)),
    st.lists(st.floats(), max_size=6).map(np.array),
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), max_size=3).map(np.array),
    TEXT.map(np.array),
)


@given(st.dictionaries(st.sampled_from([*SCORES]), ODD_ARRAYS, max_size=3), st.sampled_from([*SCORES, ""]))
@example({"matrices_cells": np.array([2**32 - 1] * 3, np.uint32)}, "")
@example({"matrices_where": np.zeros_like(SCORES["matrices_where"])}, "")
@example({"matrices_pixels": SCORES["matrices_pixels"].astype(np.uint64) << 60}, "")
def test_scores_of_any_arrays_are_read_or_refused(
    folder: Path, changes: dict[str, npt.NDArray[Any]], without: str
) -> None:
    arrays = {name: array for name, array in {**SCORES, **changes}.items() if name != without}
    _load(folder, _npz(arrays))


FACTS = json.loads(str(SCORES["facts"]))


@given(
    st.dictionaries(st.sampled_from([*FACTS]), VALUES, max_size=2),
    st.dictionaries(st.sampled_from([*FACTS["protocol"], "flipped"]), PLAIN, max_size=2),
    st.lists(TEXT, min_size=3, max_size=3),
)
@example({"ids": [str(k) for k in range(100_000)], "classes": [str(k) for k in range(5_000)]}, {}, [])
@example({"classes": "abcdefghijklmnopqrstu"}, {}, [])
@example({}, {}, ["a", "b", "\x1b[2J"])
@example({"format": float("nan")}, {}, [])
@example({}, {"tta": "\x1f"}, [])
@example({}, {"windows": "\x1f"}, [])
def test_scores_of_any_facts_are_read_or_refused(
    folder: Path, facts: dict[str, Any], protocol: dict[str, Any], ids: list[str]
) -> None:
    changed = {
        **FACTS,
        "protocol": {**FACTS["protocol"], **protocol},
        **({"ids": ids} if ids else {}),
        **facts,
    }
    _load(folder, _npz({**SCORES, "facts": np.array(json.dumps(changed))}))
