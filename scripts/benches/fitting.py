"""Runs of our command line in this process, watched."""

import contextlib
import os
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback

from vocseg.cli import VocCLI


def flags(words, root: Path, folder: Path) -> list[str]:
    """What every run of `fit` is told; the user's flags come last."""
    return [
        *(
            "fit",
            "--data.root",
            str(root),
            "--data.cache_dir",
            str(folder / "cache"),
            "--data.download",
            "false",
        ),
        *("--data.image_size", str(words.size), "--data.batch_size", str(words.batch)),
        *("--model.encoder", words.encoder, "--model.encoder_weights", "null"),
        *("--trainer.accelerator", "cpu" if words.device == "cpu" else "gpu", "--trainer.devices", "1"),
        *("--trainer.default_root_dir", str(folder / "runs"), *words.flags),
    ]


@contextlib.contextmanager
def quietly():
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        yield


def fit(words, root: Path, folder: Path, callbacks: list[Callback], *more: str) -> VocCLI:
    """A run with all its callbacks and some of ours."""
    with quietly():
        return _watched(callbacks)([*flags(words, root, folder), *more])


class Steps(Callback):
    """When each training step of a run began."""

    def __init__(self, clock) -> None:
        self.clock, self.begun = clock, []

    def on_train_batch_start(self, *_: object) -> None:
        self.begun.append(self.clock.mark())


class Epochs(Callback):
    """Seconds of each epoch, from its first training step to the end of the validation after it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        self.start = time.perf_counter()

    def on_validation_end(self, trainer, *_: object) -> None:
        if not trainer.sanity_checking:  # figures have been fetched: nothing is under way on a GPU
            self.seconds.append(time.perf_counter() - self.start)


class Scoring(Callback):
    """Images a second of `test` or `predict`, the first batches left out: they are not captured yet."""

    def __init__(self, warm: int = 4) -> None:
        self.warm, self.images, self.batches, self.seconds = warm, 0, 0, 0.0

    def _note(self, batch) -> None:
        self.batches += 1
        if self.batches == self.warm:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.start = time.perf_counter()
        elif self.batches > self.warm:
            self.images += len(batch["index"])

    def on_test_batch_end(self, trainer, module, outputs, batch, *_: object) -> None:
        self._note(batch)

    def on_predict_batch_end(self, trainer, module, outputs, batch, *_: object) -> None:
        self._note(batch)

    def on_test_epoch_end(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - getattr(self, "start", time.perf_counter())

    on_predict_epoch_end = on_test_epoch_end

    def told(self) -> dict[str, float]:
        return {"images": self.images, "images_per_s": self.images / self.seconds if self.seconds else 0.0}


def score(words, root: Path, folder: Path, callbacks: list[Callback], verb: str, *more: str) -> VocCLI:
    """A run of `test` or `predict` with all its callbacks and some of ours."""
    line = [
        verb,
        "--data.root",
        str(root),
        "--data.cache_dir",
        str(folder / "cache"),
        "--data.image_size",
        str(words.size),
    ]
    line += ["--trainer.accelerator", "cpu" if words.device == "cpu" else "gpu", "--trainer.devices", "1"]
    line += ["--trainer.default_root_dir", str(folder / "runs"), "--trainer.enable_progress_bar", "false"]
    with quietly():
        return _watched(callbacks)([*line, *more])


def _watched(callbacks: list[Callback]) -> type[VocCLI]:
    class Watched(VocCLI):
        def instantiate_trainer(self, **kwargs: object) -> object:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.extend(callbacks)
            return trainer

    return Watched
