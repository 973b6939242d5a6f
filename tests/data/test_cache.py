"""Memory-mapped cache: content, reuse, repair and staleness."""

import os
import pickle
import resource
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import ready, voc_folder
from tests.forks import Forked
from vocseg.data import voc
from vocseg.data.cache import MemmapCache, build_cache, find_cache
from vocseg.data.classes import ClassList
from vocseg.data.fingerprint import cache_folder, read_contents, write_manifest
from vocseg.data.image_io import resize_pair
from vocseg.data.raw_reader import ImageMaskReader
from vocseg.data.splits import Split, read_split
from vocseg.errors import UserError

SIZE = 64


def _split(root: Path, name: str = "val") -> Split:
    return read_split(voc.Layout(voc_folder(root)), name)


def _pack(split: Split, cache: Path, size: int = SIZE) -> MemmapCache:
    folder = build_cache(split, size, cache, progress=False)
    assert folder is not None
    return MemmapCache(folder, len(split), size, ImageMaskReader(split, cache, size).__getitem__)


@pytest.mark.parametrize("size", [SIZE, 96, 1000])
def test_cached_pairs_equal_decoded_files(sample: Path, tmp_path: Path, size: int) -> None:
    split = _split(sample)
    store = _pack(split, tmp_path, size)
    again = pickle.loads(pickle.dumps(store))  # as a spawned DataLoader worker gets it
    assert len(store) == len(again) == 7
    for k in range(7):
        wanted = resize_pair(ImageMaskReader(split, tmp_path, size).read(k), size)
        for found in (store[k], again[k]):
            assert (found.image == wanted.image).all()
            assert (found.mask == wanted.mask).all()


@pytest.mark.parametrize(
    ("augmentation", "part"),
    [("none", None), ("none", 9), ("light", 9), ("crops", None), ("standard", None), ("strong", 9)],
)
def test_batches_equal_with_cache_and_workers(
    sample: Path, tmp_path: Path, augmentation: str, part: int | None
) -> None:
    batches = []
    for store, workers in ((True, 0), (False, 0), (True, 1), (False, 2)):
        data = ready(
            sample,
            augmentation=augmentation,
            max_train_samples=part,
            cache=store,
            num_workers=workers,
            cache_dir=tmp_path,
            verify_files=False,
        )
        assert data.parts["train"].stored == store
        batches.append(list(data.train_dataloader()))
    for others in batches[1:]:
        for a, b in zip(batches[0], others, strict=True):
            assert all(torch.equal(a[key], b[key]) for key in ("image", "mask", "index"))


def test_cache_is_built_once(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _pack(_split(copied), tmp_path)
    assert "caching 'val' once: 7 images at 64x64, 0 MB in" in capsys.readouterr().out
    _pack(_split(copied), tmp_path)
    assert capsys.readouterr().out == ""


def test_touched_and_copied_files_keep_the_fingerprint(copied: Path, tmp_path: Path) -> None:
    split = _split(copied)
    folder = _pack(split, tmp_path / "cache").folder
    for path in split.paths(0):
        os.utime(path, ns=(1, 1))
    assert find_cache(split, SIZE, tmp_path / "cache") is None  # it has to be read again ...
    assert _pack(split, tmp_path / "cache").folder == folder  # ... and is found to be the same
    shutil.copytree(copied, tmp_path / "other")
    assert _pack(_split(tmp_path / "other"), tmp_path / "cache2").folder.name == folder.name


def _repaint(path: Path) -> None:
    mask = np.asarray(Image.open(path)).copy()
    mask[0, 0] = 7 if mask[0, 0] != 7 else 8
    Image.fromarray(mask).save(path)


def _reencode(path: Path) -> None:
    Image.open(path).save(path, optimize=True, compress_level=1)


CHANGES: dict[str, tuple[Callable[[Split], None], bool]] = {
    "a pixel of a mask": (lambda split: _repaint(split.paths(3)[1]), True),
    "two photographs swapped": (lambda split: _swap(split.paths(0)[0], split.paths(4)[0]), True),
    "a mask compressed otherwise": (lambda split: _reencode(split.paths(2)[1]), False),
}


def _swap(a: Path, b: Path) -> None:
    Image.open(b).resize(Image.open(a).size).save(a)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_rebuild_cache_and_remove_stale(copied: Path, tmp_path: Path, change: str) -> None:
    make, matters = CHANGES[change]
    split, cache = _split(copied), tmp_path / "cache"
    before = _pack(split, cache).folder
    make(split)
    after = _pack(split, cache)
    assert (after.folder != before) == matters
    assert before.exists() != matters
    assert (after[3].mask == ImageMaskReader(split, cache, SIZE)[3].mask).all()


def test_caches_of_sizes_class_lists_and_versions_coexist(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = _split(copied)
    merged = ClassList(("nothing", "thing"), ((0, 0, 0), (9, 9, 9)), ((0,), tuple(range(1, 21))))
    stores = [
        _pack(split, tmp_path),
        _pack(split, tmp_path, 32),
        _pack(replace(split, classes=merged), tmp_path),
    ]
    monkeypatch.setattr("cv2.__version__", "9.9")
    folders = {store.folder for store in (*stores, _pack(split, tmp_path))}
    assert len(folders) == 4
    assert all(folder.is_dir() for folder in folders)
    assert set(np.unique(stores[2][0].mask)) <= {0, 1, 255}
    assert ((stores[2][0].mask == 1) == np.isin(stores[0][0].mask, range(1, 21))).all()


def test_corrupt_file_leaves_no_cache(copied: Path, tmp_path: Path) -> None:
    split = _split(copied)
    victim = split.paths(5)[0]
    victim.write_bytes(victim.read_bytes()[:3000])
    with pytest.raises(UserError, match=rf"{victim.name} cannot be read"):
        _pack(split, tmp_path / "cache")
    assert list((tmp_path / "cache" / "stores").iterdir()) == []


def test_full_disk_falls_back_to_files_or_raises(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 0))  # type: ignore[attr-defined]
    data = ready(copied, cache_dir=tmp_path)
    assert not data.parts["val"].stored
    assert "the cache of 'train' cannot be written to" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"it needs 0 MB, but 0 MB are free\): make room or give another"):
        ready(copied, cache_dir=tmp_path, cache=True)


def _flip(path: Path, byte: int, bit: int = 4) -> None:
    """One bit of a file."""
    with path.open("r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ bit]))


def _batches(root: Path, **options: object) -> list[dict[str, torch.Tensor]]:
    module = ready(root, **options)
    return [*module.train_dataloader(), *module.val_dataloader()]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("images.bin", {}),
        ("masks.bin", {}),
        ("images.bin", {"augmentation": "light"}),
        ("masks.bin", {"num_workers": 1}),
    ],
)
def test_flipped_bit_in_cache_is_repaired(
    copied: Path, name: str, options: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    clean = _batches(copied, **options)
    (store,) = copied.rglob("stores/train-*")
    before = (store / name).read_bytes()
    _flip(store / name, len(before) * 3 // 20 + 70)  # image 4 of 20
    capfd.readouterr()
    again = _batches(copied, **options)
    assert all(torch.equal(a[key], b[key]) for a, b in zip(clean, again, strict=True) for key in a)
    assert (store / name).read_bytes() == before
    said = capfd.readouterr().out
    assert f"the cache {store} is damaged at image 4: repaired from the image's files" in said
    _batches(copied, **options)
    assert "damaged" not in capfd.readouterr().out


def test_damaged_pair_without_file_raises(copied: Path) -> None:
    _batches(copied)
    (store,) = copied.rglob("stores/val-*")
    _flip(store / "images.bin", 70)
    module = ready(copied)
    victim = _split(copied).paths(0)[0]
    victim.unlink()
    said = rf"damaged at image 1 and cannot be repaired \(.*{victim.name} is missing.*remove that folder"
    with pytest.raises(UserError, match=said):
        list(module.val_dataloader())


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("images.bin", lambda path: os.truncate(path, path.stat().st_size - 1)),
        ("masks.bin", Path.unlink),
        ("checksums.bin", Path.unlink),
    ],
)
def test_damaged_cache_is_rebuilt(
    copied: Path, name: str, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    clean = _batches(copied)
    (store,) = copied.rglob("stores/train-*")
    spoil(store / name)
    again = _batches(copied)
    assert f"the cache {store} is damaged: it is rebuilt" in capsys.readouterr().out
    assert all(torch.equal(a[key], b[key]) for a, b in zip(clean, again, strict=True) for key in a)


def test_failed_writing_of_cache_raises(copied: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cache of 'train' cannot be written to .*: make room or give"):
            _pack(_split(copied, "train"), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "cache" / "stores").iterdir()) == []


PACKER = """
import sys
from pathlib import Path
from vocseg.data import voc
from vocseg.data.cache import build_cache
from vocseg.data.splits import read_split
split = read_split(voc.Layout(voc.find(Path(sys.argv[1]))), "train")
print(build_cache(split, 64, Path(sys.argv[2]), progress=False))
"""


def _packer(root: Path, cache: Path) -> Forked:
    return Forked([str(root), str(cache)], root, PACKER)


@pytest.mark.slow
def test_concurrent_processes_build_cache_once(copied: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        packers = [stack.enter_context(_packer(copied, tmp_path / "cache")) for _ in range(3)]
        assert [process.wait() for process in packers] == [0, 0, 0]
        said = [process.out for process in packers]
    assert sum("caching 'train' once" in each for each in said) == 1
    assert len({each.splitlines()[-1] for each in said}) == 1
    assert len(list((tmp_path / "cache" / "stores").iterdir())) == 1


@pytest.mark.slow
def test_killed_build_leaves_no_valid_cache(copied: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    part = cache / "stores" / ".train.part" / "images.bin"
    with _packer(copied, cache) as process:
        while not part.exists() and process.poll() is None:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    split = _split(copied, "train")
    assert find_cache(split, SIZE, cache) is None
    assert len(_pack(split, cache)) == 20
    assert [path.name[:5] for path in (cache / "stores").iterdir()] == ["train"]


def test_file_changed_since_audit_raises(copied: Path, tmp_path: Path) -> None:
    split = _split(copied)
    cache = cache_folder(split.layout.folder, tmp_path / "cache")
    _pack(split, cache)
    write_manifest(cache, read_contents(cache))
    victim = split.paths(2)[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4  # still a JPEG
    victim.write_bytes(data)
    for options in ({"cache": True}, {"cache": False}, {"cache": False, "verify_files": False}):
        with pytest.raises(
            UserError, match=rf"{victim.name} has changed since the audit: restore it, or accept"
        ):
            list(ready(copied, cache_dir=tmp_path / "cache", **options).val_dataloader())
