"""What earlier runs have left: manifests, notes, stores and scores, after anything has happened to them."""

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

from tests.fuzz.strategies import TEXT, VALUES, files, limits, value_or_sentence
from tests.metrics.population import PROTOCOL, population
from vocseg.constants import CLASSES
from vocseg.data.cache import IMAGES, MASKS, SHAPE, MemmapCache
from vocseg.data.fingerprint import read_contents, read_manifest
from vocseg.data.synthetic import _MARKER, write_sample
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.per_image import load_per_image_confusion

JSON = VALUES.map(lambda value: json.dumps(value).encode()) | st.sampled_from([b"[" * 99_999, b"9" * 9_999])
DIGESTS = json.dumps({"JPEGImages/1.jpg": ["0f" * 16, "1e" * 16]}, indent=0).encode()
CONTENTS = json.dumps({"JPEGImages/1.jpg": [10, 1, 2, "0f" * 16, "1e" * 16]}).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@given(files([DIGESTS]) | JSON | st.dictionaries(TEXT, VALUES).map(lambda value: json.dumps(value).encode()))
@example(b'{"a": {}}')
@example(b'{"a": "text"}')
@example(b'{"a": []}')
def test_manifest_of_any_bytes_is_digests_or_refused(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    digests = value_or_sentence(lambda: read_manifest(folder), "manifest.json")
    assert digests is None or all(isinstance(digest, str) for digest in digests.values())


@given(files([CONTENTS]) | JSON | st.dictionaries(TEXT, VALUES).map(lambda value: json.dumps(value).encode()))
def test_damaged_contents_record_is_ignored(folder: Path, data: bytes) -> None:
    (folder / "contents.json").write_bytes(data)
    with limits():
        for facts in read_contents(folder).values():
            assert len(facts) == 6
            assert all(type(number) is int for number in (facts.counts or {}).values())


@given(files([b'{"train": 2, "val": 1, "seed": 0}']) | JSON)
def test_sample_with_damaged_marker_is_read_or_refused(folder: Path, data: bytes) -> None:
    root = folder / "set"
    voc = root / "VOCdevkit" / "VOC2012"
    voc.mkdir(parents=True, exist_ok=True)
    (voc / _MARKER).write_bytes(data)
    value_or_sentence(lambda: write_sample(root, train=2, val=1, progress=False), str(root))


def _npy(array: npt.NDArray[Any], **how: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **how)
    return stream.getvalue()


SIZES = np.array([2, 3, 4])
ARRAYS = [
    _npy(SIZES),
    _npy(SIZES[None]),
    _npy(SIZES.astype(np.int32)),
    _npy(SIZES << 61),
    _npy(-SIZES),
    _npy(SIZES[:2]),
    _npy(SIZES.astype(float)),
    _npy(np.array([SIZES, None], object), allow_pickle=True),
    _npy(np.array(["a", "b"])),
]
HUGE = _npy(SIZES).replace(b"(3,)", b"(10**12,)")[:128] + bytes(24)


@given(files(ARRAYS), st.integers(0, 100), st.integers(0, 40))
@example(_npy(SIZES), 72, 24)
@example(_npy(SIZES).replace(b"(3,), }         ", b"(3333333333,), }"), 72, 24)
@example(HUGE, 72, 24)
def test_cache_of_any_bytes_holds_pairs_or_is_refused(
    folder: Path, shape: bytes, images: int, masks: int
) -> None:
    for name, data in ((SHAPE, shape), (IMAGES, bytes(images)), (MASKS, bytes(masks))):
        (folder / name).write_bytes(data)
    store = value_or_sentence(lambda: MemmapCache(folder), str(folder))
    if store is not None:
        for k in range(len(store)):
            assert store[k].image.shape[:2] == store[k].mask.shape


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
