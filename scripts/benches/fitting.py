"""Runs of the command line in this process, with callbacks that measure them."""

import contextlib
import os
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback

from vocseg.cli import VocCLI


def fit(words, root: Path, folder: Path, callbacks: list[Callback], *more: str) -> VocCLI:
    """Run `fit`; `words.flags` are the user's."""
    line = ["--data.batch_size", str(words.batch), "--data.download", "false"]
    line += ["--model.encoder", words.encoder, "--model.encoder_weights", "null", *words.flags]
    return run(words, root, folder, callbacks, "fit", *line, *more)


def run(words, root: Path, folder: Path, callbacks: list[Callback], verb: str, *more: str) -> VocCLI:
    """Run a verb with all its callbacks and the given ones, without output."""

    class Measured(VocCLI):
        def instantiate_trainer(self, **kwargs: object) -> object:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.extend(callbacks)
            return trainer

    line = [verb, "--data.root", str(root), "--data.cache_dir", str(folder / "cache")]
    line += ["--data.image_size", str(words.size), "--trainer.default_root_dir", str(folder / "runs")]
    line += ["--trainer.accelerator", "cpu" if words.device == "cpu" else "gpu", "--trainer.devices", "1"]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        return Measured([*line, *more])


class Steps(Callback):
    """Start of each training step."""

    def __init__(self, clock) -> None:
        self.clock, self.begun = clock, []

    def on_train_batch_start(self, *_: object) -> None:
        self.begun.append(self.clock.mark())


class Epochs(Callback):
    """Seconds of each epoch, from its first training step to the end of its validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        self.start = time.perf_counter()

    def on_validation_end(self, trainer, *_: object) -> None:
        if not trainer.sanity_checking:  # the scores were fetched: a GPU has nothing left to do
            self.seconds.append(time.perf_counter() - self.start)


class Scoring(Callback):
    """Images a second of `test` or `predict`, without the first batches, which are not captured yet."""

    def __init__(self, warm: int) -> None:
        self.warm, self.images, self.batches, self.seconds = warm, 0, 0, 0.0

    def on_test_batch_end(self, trainer, module, outputs, batch, *_: object) -> None:
        self.batches += 1
        if self.batches == self.warm:
            self.start = self._now()
        elif self.batches > self.warm:
            self.images += len(batch["index"])

    def on_test_epoch_end(self, *_: object) -> None:
        if self.batches >= self.warm:
            self.seconds = self._now() - self.start

    on_predict_batch_end, on_predict_epoch_end = on_test_batch_end, on_test_epoch_end

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def results(self) -> dict[str, float]:
        return {"images": self.images, "images_per_s": self.images / self.seconds if self.seconds else 0.0}
