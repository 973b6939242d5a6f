"""Runs of our command line in this process, watched."""

import contextlib
import os
import time
from pathlib import Path

from lightning.pytorch import Callback

from vocseg.cli import VocCLI


def flags(words, root: Path, folder: Path) -> list[str]:
    """What every run of `fit` is told; the user's flags come last."""
    return [
        *("fit", "--data.root", str(root), "--data.cache", str(folder / "cache"), "--data.download", "false"),
        *("--data.size", str(words.size), "--data.batch_size", str(words.batch)),
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

    class Watched(VocCLI):
        def instantiate_trainer(self, **kwargs: object) -> object:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.extend(callbacks)
            return trainer

    with quietly():
        return Watched([*flags(words, root, folder), *more])


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
