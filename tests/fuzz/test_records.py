"""Scores of earlier runs, after any damage."""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import VALUES, files, limits, value_or_sentence
from tests.metrics.population import PROTOCOL, population
from vocseg.constants import CLASSES
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.per_image import load_per_image_confusion

JSON = VALUES.map(lambda value: json.dumps(value).encode()) | st.sampled_from([b"[" * 99_999, b"9" * 9_999])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


def _scores() -> bytes:
    """A sound file without a digest, so that a change reaches the arrays."""
    matrices, stream = population(3, seed=0), io.BytesIO()
    facts = {"protocol": asdict(PROTOCOL), "classes": CLASSES, "ids": ["a", "b", "c"]}
    np.savez(stream, facts=np.array(json.dumps(facts)), matrices=matrices, band=matrices // 3)
    return stream.getvalue()


def _bomb() -> bytes:
    """600 MB of zeros in half a megabyte: none of them may be unpacked."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))
    return stream.getvalue()


@given(files([_scores()]))
@example(_bomb())
def test_scores_of_any_bytes_are_read_or_refused(folder: Path, data: bytes) -> None:
    path = folder / "per_image_confusion_original.npz"
    path.write_bytes(data)
    scores = value_or_sentence(lambda: load_per_image_confusion(path), path.name)
    if scores is not None:
        with limits():
            assert scores.matrices.min() >= 0
            assert all(name.isprintable() for name in (*scores.ids, *scores.classes, str(scores.protocol)))
            score_intervals(scores, 100)
