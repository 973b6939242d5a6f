"""The progress bar fetches figures now and then, and not after every step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import RichProgressBar

from vocseg.callbacks.progress_bar import ProgressBar


def test_metrics_are_fetched_at_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("vocseg.callbacks.progress_bar.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: {"v_num": 3})
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda *_: None)
    progress = SimpleNamespace(is_last_batch=False)
    loops = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    trainer: Any = SimpleNamespace(training=True, fit_loop=loops)
    bar, shown = ProgressBar(max_updates_per_second=4), []
    for step in range(8):  # ten a second
        progress.is_last_batch = step == 7
        bar.on_train_batch_end(trainer, None, {"loss": torch.tensor(float(step))}, None, step)  # type: ignore[arg-type]
        shown.append(bar.get_metrics(trainer, None)["loss"])  # type: ignore[arg-type]
        now[0] += 0.1
    assert shown == [0, 0, 0, 3, 3, 3, 6, 7]
