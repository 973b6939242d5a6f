"""Loggers with the interface of W&B's and MLflow's, which are not installed."""

from types import SimpleNamespace
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment


class RecordingLogger(Logger):
    """Keeps what Lightning's WandbLogger would send."""

    metrics: dict[str, float]
    settings: dict[str, Any]
    images: dict[str, list[tuple[int, Any]]]

    def __init__(self) -> None:
        super().__init__()
        self.metrics, self.settings, self.images = {}, {}, {}

    name = version = "recorded"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self.metrics |= metrics

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self.settings |= params

    def log_image(self, key: str, images: list[Any], step: int, **_: Any) -> None:
        self.images.setdefault(key, []).append((step, images[0]))


class RecordingMLFlowLogger(MLFlowLogger):
    """Keeps what MLflow's client would send."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    @property
    def run_id(self) -> str:
        return "run"

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(log_image=lambda *words, **named: self.sent.append((words, named)))


class UnreachableLogger(RecordingLogger):
    """Has no server; `early`: it is asked for at once."""

    def __init__(self, early: bool = False) -> None:
        super().__init__()
        if early:
            raise ConnectionError("no server at 127.0.0.1")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        raise ConnectionError("no key. Log in first.")
