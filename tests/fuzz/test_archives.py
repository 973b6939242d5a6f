"""Submission archives of any bytes."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import files, limits
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


LONG_LINK = tarfile.TarInfo("a")
LONG_LINK.type, LONG_LINK.linkname = tarfile.SYMTYPE, "x" * 5000
SIZE = tarfile.TarInfo("a")
SIZE.pax_headers = {"size": "x"}
LONGLINKS = b"".join(_tar(LONG[:1])[:1024] for _ in range(1500))  # headers that announce headers, without end


@given(files(PACKED), st.booleans())
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
