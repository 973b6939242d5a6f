"""LightningDataModule of VOC."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import refused, tiny
from tests.data.conftest import ready, voc_folder
from vocseg.data import voc, worker_watchdog
from vocseg.data.audit.command import audit
from vocseg.data.samplers import SampleIndex
from vocseg.data.voc import split_ids
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule


def test_batch_is_uint8_channels_last(sample: Path) -> None:
    batch = next(iter(ready(sample).train_dataloader()))
    assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
    assert batch["image"].shape == (4, 3, 64, 64)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["mask"].shape == (4, 64, 64)
    assert batch["index"].dtype == torch.int64


@pytest.mark.parametrize(
    ("device", "batch_size", "wanted", "sizes"),
    [("cpu", 4, None, [4, 3]), ("cpu", 4, 6, [6, 1]), ("cuda", 4, None, [7]), ("cuda", 4, 5, [5, 2])],
)
def test_eval_batch_size_default_and_flag(
    sample: Path, device: str, batch_size: int, wanted: int | None, sizes: list[int]
) -> None:
    data = ready(sample, batch_size=batch_size, eval_batch_size=wanted)
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=strategy, global_rank=0, world_size=1, num_devices=1
    )
    assert data.val_dataloader().batch_size == (wanted or (32 if device == "cuda" else batch_size))
    assert [len(draws) for draws in data.test_dataloader().batch_sampler] == sizes  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("device", "augmentation", "store", "devices", "workers"),
    [
        ("cpu", "standard", True, 1, 0),
        ("cuda", "light", True, 1, 0),  # little more than a copy
        ("cuda", "crops", True, 1, 8),
        ("cuda", "strong", True, 1, 8),
        ("cuda", "none", False, 1, 8),  # decoded anew
        ("cuda", "standard", True, 4, 3),  # they share the cores
    ],
)
def test_num_workers_default_depends_on_device_and_work(
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    augmentation: str,
    store: bool,
    devices: int,
    workers: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(12), raising=False)
    data = ready(sample, augmentation=augmentation, cache=store)
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=strategy, global_rank=0, world_size=1, num_devices=devices, current_epoch=0
    )
    loader = data.train_dataloader()
    assert (loader.num_workers, loader.pin_memory) == (workers, device == "cuda")
    assert data.val_dataloader().num_workers == (0 if store else workers)
    data.num_workers = 1
    assert data.train_dataloader().num_workers == 1


@pytest.mark.parametrize(("free", "wanted"), [(1 << 30, 8), (1000, 5), (199, 0)])
def test_default_workers_fit_shared_memory(monkeypatch: pytest.MonkeyPatch, free: int, wanted: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    monkeypatch.setattr(worker_watchdog, "_shared_memory", lambda: free)
    assert worker_watchdog.useful_workers(False, True, 1, batch_bytes=100) == wanted
    if wanted:
        worker_watchdog.check_shared_memory(wanted, 100)


def test_subset_depends_on_subset_seed_and_is_ordered(sample: Path) -> None:
    folder = voc_folder(sample)
    ids = split_ids(folder, "train")
    part = ready(sample, max_train_samples=8, max_val_samples=3).parts["train"].split.ids
    assert part == ready(sample, max_train_samples=8, seed=1).parts["train"].split.ids
    assert part != ready(sample, max_train_samples=8, subset_seed=1).parts["train"].split.ids
    assert part == tuple(id for id in ids if id in part)
    assert len(part) == 8


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (
            {"max_train_samples": 21},
            "'train' has 20 images, but --data.max_train_samples asks for 21: use .* 20",
        ),
        ({"max_val_samples": 8}, "'val' has 7 images, but --data.max_val_samples asks for 8"),
        ({"batch_size": 32}, "'train' has 20 images, too few for one batch of 32"),
        ({"val_split": "trainaug"}, "there is no split 'trainaug'"),
    ],
)
def test_too_many_samples_raise(sample: Path, options: dict[str, object], what: str) -> None:
    with pytest.raises(UserError, match=what):
        ready(sample, **options)


def test_filler_is_ignored(sample: Path) -> None:
    part = ready(sample).parts["val"]
    item = part[SampleIndex(6, filler=True)]
    assert item["index"] == -1
    assert (item["mask"] == 255).all()
    assert torch.equal(item["image"], part[6]["image"])


def test_facts_depend_on_images_only(sample: Path) -> None:
    facts = ready(sample).facts("val")
    assert (facts["split"], facts["images"], facts["size"]) == ("val", 7, 64)
    assert facts == ready(sample, batch_size=2).facts("val")
    assert facts["fingerprint"] != ready(sample, max_val_samples=6).facts("val")["fingerprint"]


def test_fingerprint_of_unread_files_covers_ids(sample: Path, tmp_path: Path) -> None:
    unread = ready(sample, cache=False, verify_files=False, cache_dir=tmp_path).facts("val")["fingerprint"]
    assert unread.startswith("ids-")
    read = ready(sample, cache=False, cache_dir=tmp_path).facts("val")["fingerprint"]
    assert read == ready(sample, cache_dir=tmp_path).facts("val")["fingerprint"] != unread


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _redraw(path: Path) -> None:
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("damage", "workers", "reason"),
    [
        (Path.unlink, "0", "is missing"),
        (_truncate, "1", "cannot be read"),
        (_redraw, "0", "has changed since the run started"),
    ],
)
def test_corrupt_file_in_training_raises(
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
    workers: str,
    reason: str,
) -> None:
    path = next(copied.rglob("2007_000004.jpg"))
    plain, done = SegmentationModule.training_step, []

    def step(module: SegmentationModule, batch: Any, batch_idx: int) -> Any:
        if not done:
            done.append(damage(path))
        return plain(module, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", step)
    flags = f"""--trainer.num_sanity_val_steps 0 --image_panels.num_images 0 --data.batch_size 10
        --data.cache false --trainer.max_epochs 3 --data.num_workers {workers}"""
    said = refused(capsys, ["fit", *tiny(copied), *flags.split()])
    assert "2007_000004.jpg" in said
    assert reason in said
    assert said.count("vocseg: ") == 1


def test_trainaug_downloads_sbd_for_voc_only(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("vocseg.data.splits.download_sbd", asked.append)
    with pytest.raises(UserError, match="there is no split 'trainaug'"):
        ready(copied, train_split="trainaug")
    assert asked == []
    monkeypatch.setattr(voc, "COUNTS", {"train": 20, "val": 7})
    with pytest.raises(UserError, match="there is no split 'trainaug'"):
        ready(copied, train_split="trainaug")
    assert asked == [copied]


def test_audit_and_run_fingerprints_equal(sample: Path, tmp_path: Path) -> None:
    lists = {each.split: each for each in audit(sample, cache=tmp_path / "audit", progress=False).lists}
    facts = {name: ready(sample, cache=tmp_path / "run").facts(name) for name in ("train", "val")}
    assert {name: lists[name].fingerprint for name in facts} == {
        name: fact["fingerprint"] for name, fact in facts.items()
    }
