"""Archives of any bytes: those that are unpacked, those that are checked, and the files in SBD's."""

import gzip
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.io import savemat

from tests.fuzz.strategies import TEXT, files, limits, value_or_sentence
from vocseg.data.download.archive import unpack
from vocseg.data.download.sbd import convert, read_mat
from vocseg.submission.archive import check_archive, encode, folder_of

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {"2008_000001": (6, 4), "2008_000002": (5, 7)}
MASKS = {id: encode(np.full((height, width), 3, np.uint8)) for id, (width, height) in SIZES.items()}
Members = list[tuple[tarfile.TarInfo, bytes]]


def _tar(members: Members, format: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        for header, data in members:
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def _file(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header, data


SUBMISSION = [_file(f"{folder_of(6)}/{id}.png", data) for id, data in MASKS.items()]
LONG = [_file(f"{'x' * 150}/{k}.png", b"data") for k in range(2)]
TARS = [_tar(SUBMISSION), _tar(LONG), _tar(LONG, tarfile.PAX_FORMAT)]
PACKED = [*TARS, *(gzip.compress(tar, mtime=0) for tar in TARS)]

NAMES = TEXT | st.sampled_from([
    *(member.name for member, _ in SUBMISSION), "a", "a/b", "a/b/c", "b", "./a", "a/../../x", "a//b", ".",
    "..",
    "benchmark_RELEASE/dataset/train.txt", "benchmark_RELEASE/dataset/val.txt",
    "benchmark_RELEASE/dataset/cls/1.mat",
])  # fmt: skip
KINDS = [
    *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
    *(tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"),
]
NUMBERS = st.sampled_from(["-1", "99999999999999999999", "x", "1e999", "nan", "", "7"])


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """Entries of every kind, with names, links, times and sizes that need not make sense."""
    members: Members = []
    for _ in range(draw(st.integers(0, 5))):
        data = draw(st.binary(max_size=30) | st.sampled_from(sorted(MASKS.values())))
        header, _ = _file(draw(NAMES), data)
        header.type = draw(st.sampled_from([tarfile.REGTYPE, *KINDS]))
        header.linkname = draw(st.just("") | NAMES)
        header.mode = draw(st.sampled_from([0o644, 0, 0o7777]))
        header.mtime = draw(st.sampled_from([0, 2**33, -1, 8**11 - 1]))
        keys = st.sampled_from(
            ["size", "mtime", "path", "linkpath", "GNU.sparse.size", "GNU.sparse.map", "uid"]
        )
        header.pax_headers = draw(st.dictionaries(keys, NUMBERS | TEXT, max_size=1))
        if not header.isreg():
            header.size = draw(st.sampled_from([0, 0, len(data)]))
        members.append((header, data))
    format = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    try:
        return _tar(members, format)
    except (ValueError, UnicodeError):  # what cannot even be written
        return _tar([])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    (folder / "outside").mkdir()
    (folder / "outside" / "kept").write_bytes(b"kept")
    return folder


def _fresh(folder: Path) -> Path:
    """An empty folder, and nothing beside it but what belongs there."""
    shutil.rmtree(folder / "in", ignore_errors=True)
    (folder / "in").mkdir()
    return folder / "in"


def _nothing_left(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} <= {"in", "outside", "x.tar", "r.tar.gz", "r.tar"}
    assert [path.name for path in (folder / "outside").iterdir()] == ["kept"]
    assert (folder / "outside" / "kept").read_bytes() == b"kept"
    for path in (folder / "in").rglob("*"):
        assert os.path.realpath(path).startswith(os.path.realpath(folder / "in"))


LONG_NAME = _tar([_file("/".join(["x" * 300] * 3), b"data")])
LINK_TO_NOTHING = tarfile.TarInfo("a")
LINK_TO_NOTHING.type, LINK_TO_NOTHING.linkname = tarfile.LNKTYPE, "b"
LONG_LINK = tarfile.TarInfo("a")
LONG_LINK.type, LONG_LINK.linkname = tarfile.SYMTYPE, "x" * 5000
LOOP = tarfile.TarInfo("a")
LOOP.type, LOOP.linkname = tarfile.SYMTYPE, "a"
NUL = tarfile.TarInfo("a")
NUL.pax_headers = {"path": "a\0b"}
SIZE = tarfile.TarInfo("a")
SIZE.pax_headers = {"size": "x"}
LONGLINKS = b"".join(_tar(LONG[:1])[:1024] for _ in range(1500))  # headers that announce headers, without end


@given(files(PACKED) | tars() | tars().map(lambda data: gzip.compress(data, mtime=0)))
@example(LONG_NAME)
@example(_tar([(LINK_TO_NOTHING, b"")]))
@example(_tar([(LONG_LINK, b"")]))
@example(_tar([(LOOP, b"")]))
@example(_tar([(NUL, b"")], tarfile.PAX_FORMAT))
@example(_tar([(SIZE, b"")], tarfile.PAX_FORMAT))
@example(_tar([_file("a", b""), _file("a/b", b"")]))
@example(_tar([_file("a/b", b""), _file("a", b"")]))
@example(LONGLINKS)
def test_archive_of_any_bytes_is_unpacked_inside_or_refused(folder: Path, data: bytes) -> None:
    (folder / "x.tar").write_bytes(data)
    value_or_sentence(lambda: unpack(folder / "x.tar", _fresh(folder)), "x.tar")
    _nothing_left(folder)
    (folder / "x.tar").write_bytes(data)
    value_or_sentence(lambda: convert(folder / "x.tar", _fresh(folder), set()), "x.tar")
    _nothing_left(folder)


@given(files(PACKED) | tars() | tars().map(lambda data: gzip.compress(data, mtime=0)), st.booleans())
@example(_tar([(SIZE, b"")], tarfile.PAX_FORMAT), True)
@example(LONGLINKS, True)
@example(_tar([(LONG_LINK, b"")]), True)
@example(gzip.compress(_tar(SUBMISSION), mtime=0), False)
def test_submission_of_any_bytes_is_valid_or_has_named_errors(folder: Path, data: bytes, plain: bool) -> None:
    path = folder / ("r.tar" if plain else "r.tar.gz")
    path.write_bytes(data)
    _fresh(folder)
    with limits():
        found = check_archive(path, SIZES)
    assert found.faults or found.masks == len(SIZES)
    assert all(len(fault.text) < 500 for fault in found.faults)
    _nothing_left(folder)


def _mat(value: Any, compress: bool = True) -> bytes:
    stream = io.BytesIO()
    savemat(stream, {"GTcls": value}, do_compression=compress)
    return stream.getvalue()


EYE = np.eye(9, dtype=np.uint8)
MATS = [
    _mat({"Segmentation": EYE, "CategoriesPresent": [1]}),
    _mat({"Segmentation": EYE}, compress=False),
    _mat({"Segmentation": EYE.astype(complex)}),
    _mat({"Segmentation": "text"}),
    _mat({"Segmentation": {"x": EYE}}),
    _mat(np.array([EYE, "a"], object), compress=False),
]


@given(files(MATS))
@example(MATS[2])
@example(MATS[3])
@example(MATS[4])
def test_matlab_file_of_any_bytes_is_mask_or_refused(data: bytes) -> None:
    mask = value_or_sentence(lambda: read_mat(data, "1.mat"), "1.mat", greedy=True)  # as scipy is
    if mask is not None:
        assert mask.dtype == np.uint8
        assert mask.ndim == 2
        assert mask.max() < 21
