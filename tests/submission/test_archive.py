"""Writing and checking of submission archives."""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocseg.constants import PALETTE
from vocseg.submission.archive import CheckResult, check_archive, encode, folder_of, write_archive

SIZES = {"2008_000001": (50, 40), "2008_000002": (40, 50), "2008_000003": (33, 21)}  # width, height
FIRST = "2008_000001"
FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"
NAME = f"{FOLDER}/{FIRST}.png"
Files = list[tuple[str, bytes]]


def _mask(id: str = FIRST) -> np.ndarray:
    width, height = SIZES[id]
    return np.random.default_rng(int(id[-1])).integers(0, 21, (height, width), np.uint8)


def _good(folder: str = FOLDER) -> Files:
    return [(f"{folder}/{id}.png", encode(_mask(id))) for id in SIZES]


def _tar(entries: Files | list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry, data in entries:
            header = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            header.size = len(data) if header.isreg() else 0
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def _check(folder: Path, data: bytes, competition: int | None = None) -> CheckResult:
    path = folder / "r.tar.gz"
    path.write_bytes(data)
    result = check_archive(path, SIZES, competition)
    assert list(folder.iterdir()) == [path]  # nothing was unpacked
    return result


def _said(result: CheckResult) -> list[tuple[str, str, str]]:
    return [(fault.kind, fault.member, fault.text) for fault in result.faults]


def _png(pixels: np.ndarray | Image.Image, **how: object) -> bytes:
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, "PNG", **how)
    return stream.getvalue()


def _with_palette(pixels: np.ndarray, colours: list[tuple[int, int, int]]) -> bytes:
    picture = Image.fromarray(pixels).convert("P")
    picture.putpalette([channel for colour in colours for channel in colour])
    return _png(picture)


def _painted(value: int, x: int, y: int, also: int | None = None) -> bytes:
    mask = _mask()
    mask[y, x] = value
    if also is not None:
        mask[y + 1, x : x + 3] = also
    return encode(mask)


def _huge_png() -> bytes:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 3, 0, 0, 0)), (b"PLTE", bytes(768))]
    parts += [(b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    sums = [struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    body = [
        struct.pack(">I", len(data)) + kind + data + s for (kind, data), s in zip(parts, sums, strict=True)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


GREY = _mask().astype(np.uint8)
BGR = [(b, g, r) for r, g, b in PALETTE]
CONTENT: dict[str, tuple[bytes, str, list[str]]] = {
    "colours": (_png(np.array(PALETTE, np.uint8)[_mask()]), "mode", ["mode RGB"]),
    "indices without a palette": (_png(GREY), "mode", ["mode L"]),
    "sixteen bits": (_png(GREY.astype(np.uint16)), "mode", ["mode I;16"]),
    "red and blue swapped": (_with_palette(GREY, BGR), "palette", ["index 1 is (0, 0, 128)", "(128, 0, 0)"]),
    "too few colours": (_with_palette(GREY % 16, list(PALETTE[:16])), "palette", ["index 16 is absent"]),
    "ignore index": (_painted(255, 7, 5), "values", ["value 255 (ignore index) at x=7, y=5", "pixels: 1"]),
    "no class": (_painted(21, 7, 5, also=254), "values", ["value 21 at x=7, y=5", "pixels: 4"]),
    "another size": (encode(_mask()[:30, :20]), "size", ["20x30", "50x40"]),
    "a size that no memory holds": (_huge_png(), "unreadable", ["pixels"]),
    "nothing": (b"", "unreadable", ["0 bytes"]),
    "a cut end": (encode(_mask())[:-40], "unreadable", ["runcated"]),
    "a flipped bit": (_flipped(encode(_mask()), 1200), "unreadable", ["checksum"]),
}


@pytest.mark.parametrize("name", CONTENT)
def test_invalid_mask_is_reported(tmp_path: Path, name: str) -> None:
    data, kind, words = CONTENT[name]
    result = _check(tmp_path, gzip.compress(_tar([(NAME, data), *_good()[1:]])))
    ((found, member, text),) = _said(result)
    assert (found, member) == (kind, NAME)
    for word in words:
        assert word in text
    assert result.exit_code == 1


def _moved(folder: str) -> Callable[[Files], Files]:
    return lambda files: [(f"{folder}/{files[0][0].split('/')[-1]}", files[0][1]), *files[1:]]


def _added(name: str) -> Callable[[Files], Files]:
    return lambda files: [*files, (name, files[0][1])]


PLACES: dict[str, tuple[Callable[[Files], Files], list[tuple[str, str, str]]]] = {
    "another competition": (_moved(folder_of(5)), [("name", f"{folder_of(5)}/{FIRST}.png", "comp6")]),
    "another year": (
        _moved(FOLDER.replace("2012", "2011")),
        [("name", f"{FOLDER.replace('2012', '2011')}/{FIRST}.png", FOLDER)],
    ),
    "an id too many": (_added(f"{FOLDER}/2011_003145.png"), [("name", f"{FOLDER}/2011_003145.png", "")]),
    "an id too few": (lambda files: files[1:], [("missing", NAME, "")]),
    "a mask twice": (_added(NAME), [("duplicate", NAME, "2 times")]),
    "a way out": (_added(f"results/../../{FIRST}.png"), [("name", f"results/../../{FIRST}.png", FOLDER)]),
}


@pytest.mark.parametrize("name", PLACES)
def test_misplaced_entry_is_reported_with_the_expected_folder(tmp_path: Path, name: str) -> None:
    change, expected = PLACES[name]
    result = _check(tmp_path, gzip.compress(_tar(change(_good()))))
    said = _said(result)
    assert [found[:2] for found in said] == [each[:2] for each in expected]
    for (_, _, text), (_, _, word) in zip(said, expected, strict=True):
        assert word in text


def _special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(NAME)
    header.type, header.linkname = kind, target
    return header


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (_special(tarfile.SYMTYPE, "/etc/passwd"), "/etc/passwd"),
        (_special(tarfile.LNKTYPE, f"{FOLDER}/2008_000002.png"), "2008_000002"),
        (_special(tarfile.FIFOTYPE), ""),
        (_special(tarfile.CHRTYPE), ""),
    ],
)
def test_link_is_reported_and_not_followed(tmp_path: Path, header: tarfile.TarInfo, what: str) -> None:
    rest = [(tarfile.TarInfo(name), data) for name, data in _good()[1:]]
    said = _said(_check(tmp_path, gzip.compress(_tar([*rest, (header, b"")]))))
    assert [found[:2] for found in said] == [("link", NAME)]
    assert what in said[0][2]


def _folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.type = tarfile.DIRTYPE
    return header, b""


def test_folder_entries_are_ignored(tmp_path: Path) -> None:
    files = [(tarfile.TarInfo(f"./{name}"), data) for name, data in _good()]
    folders = [_folder("."), _folder("results"), _folder(FOLDER)]
    assert _said(_check(tmp_path, gzip.compress(_tar([*folders, *files])))) == []


GOOD = _tar(_good())
PACKINGS: dict[str, tuple[bytes, str]] = {
    "a tar": (GOOD, "Not a gzipped file"),
    "nothing": (b"", "cannot be read"),
    "a cut end": (gzip.compress(GOOD)[:-200], "ended"),
    "a wrong checksum": (_flipped(gzip.compress(GOOD), -6), "CRC"),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_wrong_packing_is_reported(tmp_path: Path, name: str) -> None:
    data, words = PACKINGS[name]
    ((kind, member, text),) = _said(_check(tmp_path, data))
    assert (kind, member) == ("archive", "r.tar.gz")
    assert words in text


def test_archive_bomb_is_not_read_to_its_end(tmp_path: Path) -> None:
    bomb = gzip.compress(_tar([*_good()[1:], (f"{FOLDER}/2008_000001.png", bytes(80_000_000))]), 1)
    (_, _, text), *_ = _said(_check(tmp_path, bomb))
    assert "more than a mask can have" in text


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    wrong = _with_palette(np.full((21, 33), 255, np.uint8), BGR)
    files = [(f"{folder_of(5)}/{FIRST}.png", b"text"), (f"{FOLDER}/2008_000003.png", wrong), ("x/y", b"")]
    said = _said(_check(tmp_path, gzip.compress(_tar(files)), competition=6))
    assert [found[:2] for found in said] == [
        ("unreadable", f"{folder_of(5)}/{FIRST}.png"),
        ("palette", f"{FOLDER}/2008_000003.png"),
        ("name", f"{folder_of(5)}/{FIRST}.png"),
        ("name", "x/y"),
        ("missing", f"{FOLDER}/2008_000002.png"),
    ]


@pytest.mark.parametrize("competition", [5, 6])
def test_competition_defaults_to_the_folder_of_the_archive(tmp_path: Path, competition: int) -> None:
    data = gzip.compress(_tar(_good(folder_of(competition))))
    result = _check(tmp_path, data)
    assert (result.competition, result.faults) == (competition, ())
    other = _check(tmp_path, data, competition=11 - competition)
    assert {fault.kind for fault in other.faults} == {"name"}


def test_palette_of_21_colours_is_valid(tmp_path: Path) -> None:
    short = [(f"{FOLDER}/{id}.png", _with_palette(_mask(id), list(PALETTE[:21]))) for id in SIZES]
    assert _said(_check(tmp_path, gzip.compress(_tar(short)))) == []


def test_archive_bytes_do_not_depend_on_order_or_name(tmp_path: Path) -> None:
    masks = {id: encode(_mask(id)) for id in SIZES}
    for name, ids in (("a.tar.gz", list(SIZES)), ("b.tgz", list(SIZES)[::-1])):
        write_archive(tmp_path / name, 6, {id: masks[id] for id in ids})
        assert check_archive(tmp_path / name, SIZES) == CheckResult(tmp_path / name, 6, 3, 3, ())
    first, second = ((tmp_path / name).read_bytes() for name in ("a.tar.gz", "b.tgz"))
    assert first == second
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        headers = tar.getmembers()
    assert [header.name for header in headers] == [f"{FOLDER}/{id}.png" for id in SIZES]
    assert {(h.mtime, h.uid, h.gid, h.uname, h.gname, h.mode) for h in headers} == {(0, 0, 0, "", "", 0o644)}
