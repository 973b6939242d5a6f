"""Submission archives of any bytes."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import TEXT, files, limits
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
    return tmp_path_factory.mktemp("archives")


LONG_LINK = tarfile.TarInfo("a")
LONG_LINK.type, LONG_LINK.linkname = tarfile.SYMTYPE, "x" * 5000
SIZE = tarfile.TarInfo("a")
SIZE.pax_headers = {"size": "x"}
LONGLINKS = b"".join(_tar(LONG[:1])[:1024] for _ in range(1500))  # headers that announce headers, without end


@given(files(PACKED) | tars() | tars().map(lambda data: gzip.compress(data, mtime=0)), st.booleans())
@example(_tar([(SIZE, b"")], tarfile.PAX_FORMAT), True)
@example(LONGLINKS, True)
@example(_tar([(LONG_LINK, b"")]), True)
@example(gzip.compress(_tar(SUBMISSION), mtime=0), False)
def test_submission_of_any_bytes_is_valid_or_has_named_errors(folder: Path, data: bytes, plain: bool) -> None:
    path = folder / ("r.tar" if plain else "r.tar.gz")
    path.write_bytes(data)
    with limits():
        found = check_archive(path, SIZES)
    assert found.faults or found.masks == len(SIZES)
    assert all(len(fault.text) < 500 for fault in found.faults)
