"""Training asks for no figure's value: on a GPU each such question waits for all work under way."""

import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import TINY, tiny
from vocseg.__main__ import main
from vocseg.cli import VocCLI
from vocseg.models.module import SegmentationModule

# What looks at figures that are on a CPU, and so there at once: those of a network there, and positions in a
# loader. An optimiser's own counters of steps are there too.
ON_A_CPU = {"confusion_matrices", "note"}
ASKING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal"}


class Questions(TorchDispatchMode):
    """Counts who asks for values."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ASKING:
            frames = traceback.extract_stack()[:-1]
            names = {frame.name for frame in frames}
            of_optimizer = any("torch/optim/" in frame.filename for frame in frames)
            if not (ON_A_CPU & names or of_optimizer):
                self.asked[" < ".join(frame.name for frame in frames[:-12:-1])] += 1
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Counts from before one batch to before the next."""

    def __init__(self) -> None:
        self.steps: list[Counter[str]] = []
        self._mode: Questions | None = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.close()
        self._mode = Questions()
        self._mode.__enter__()

    def close(self) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self.steps.append(self._mode.asked)
            self._mode = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.close()


def _observe(monkeypatch: pytest.MonkeyPatch, callback: Callback, first: bool = False) -> None:
    """Add a callback to the trainers of the command line, before or after their own callbacks."""
    build = VocCLI.instantiate_trainer

    def watched(self: VocCLI, **kwargs: Any) -> Any:
        trainer = build(self, **kwargs)
        trainer.callbacks.insert(0 if first else len(trainer.callbacks), callback)  # type: ignore[attr-defined]
        return trainer

    monkeypatch.setattr(VocCLI, "instantiate_trainer", watched)


def test_training_step_runs_on_meta_device() -> None:
    """Meta tensors have none, so that whoever asks for one fails."""
    with torch.device("meta"):
        module = SegmentationModule(encoder=TINY)
        optimizer = torch.optim.Adam(module.parameters())
    module.train_metrics.to("meta")
    batch: Any = {
        "image": torch.empty(2, 3, 64, 64, dtype=torch.uint8, device="meta"),
        "mask": torch.empty(2, 64, 64, dtype=torch.uint8, device="meta"),
        "index": torch.empty(2, dtype=torch.int64, device="meta"),
    }
    for _ in range(2):
        loss = module._step(batch, module.train_metrics)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with pytest.raises((RuntimeError, NotImplementedError)):
        loss.item()


def test_fit_fetches_values_only_to_log_or_draw(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    _observe(monkeypatch, watch)
    words = [
        *tiny(sample),
        "--trainer.log_every_n_steps",
        "4",
        "--progress_bar.max_updates_per_second",
        "0.01",
    ]
    words[words.index("--trainer.enable_progress_bar") + 1] = "true"
    main(["fit", *words, "--data.batch_size", "2", "--weight_averaging.kind", "ema"])
    assert len(watch.steps) == 10
    quiet = [k for k in range(1, 10) if (k + 1) % 4 and k != 9]  # the bar shows the first and the last
    assert {k: dict(watch.steps[k]) for k in quiet if watch.steps[k]} == {}
    assert watch.steps[3]  # it logs, so that the count can be other than zero


class Fetched(Callback):
    """Counts who fetches figures while batches are scored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps, self.asked = 0, Counter[str]()
        self._scoring = False
        for name in ("cpu", "numpy", "tolist", "item"):
            monkeypatch.setattr(torch.Tensor, name, self._noting(getattr(torch.Tensor, name)))

    def _noting(self, fetch: Any) -> Any:
        def noting(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._scoring:
                frames = traceback.extract_stack()[:-1]
                self.asked[" < ".join(frame.name for frame in frames[:-8:-1])] += 1
            return fetch(tensor, *args, **kwargs)

        return noting

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._scoring = not trainer.sanity_checking
        self.steps += self._scoring

    def on_validation_epoch_end(self, *_: Any) -> None:
        self._scoring = False


def test_scoring_fetches_no_values_before_epoch_end(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Fetched(monkeypatch)
    _observe(monkeypatch, seen, first=True)  # those that close an epoch come after
    main(["fit", *tiny(sample), "--data.batch_size", "2"])
    assert seen.steps > 1
    assert seen.asked == {}
    assert (here / "lightning_logs/fit/version_0/panels.png").exists()
