"""DataLoader workers."""

import os
from pathlib import Path

import pytest
import torch

from tests.data.conftest import ready
from vocseg.data import worker_watchdog
from vocseg.data.dataloader import Batch
from vocseg.data.synthetic import write_sample

EPOCHS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    write_sample(root, train=8, val=2, progress=False)
    return root


def _batches(root: Path, workers: int, start: str | None) -> list[Batch]:
    """Those of two epochs, from one loader, as a trainer takes them; images are decoded by the workers."""
    data = ready(root, 32, batch_size=2, augmentation="standard", num_workers=workers, cache=False)
    loader, found = data.train_dataloader(), []
    loader.multiprocessing_context = start
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found += list(loader)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("start", "workers"), [("fork", 4), ("spawn", 1)])
def test_batches_equal_for_any_start_method(root: Path, start: str, workers: int) -> None:
    alone, helped = _batches(root, 0, None), _batches(root, workers, start)
    assert len(alone) == len(helped) == EPOCHS * 4
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("image", "mask", "index"))  # type: ignore[literal-required]
    first, second = alone[:4], alone[4:]
    assert [batch["index"].tolist() for batch in first] != [batch["index"].tolist() for batch in second]


@pytest.mark.parametrize(("free", "wanted"), [(1 << 30, 8), (1000, 5), (199, 0)])
def test_default_workers_fit_shared_memory(monkeypatch: pytest.MonkeyPatch, free: int, wanted: int) -> None:
    """A container's has often 64 MB, where a wish for too many is refused."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    monkeypatch.setattr(worker_watchdog, "_shared_memory", lambda: free)
    assert worker_watchdog.useful_workers(False, True, 1, batch_bytes=100) == wanted
    if wanted:
        worker_watchdog.check_shared_memory(wanted, 100)
