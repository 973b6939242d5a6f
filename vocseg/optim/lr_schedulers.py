"""Learning-rate schedules."""

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

ScheduleName = Literal["constant", "poly", "cosine", "onecycle", "plateau"]

_FLOOR = 1e-3  # of the highest rate: a rate of zero trains nothing
_POWER = 0.9  # of `poly`, as in DeepLab
_ONECYCLE_WARMUP = 0.3
_PATIENCE, _CUT = 3, 0.1  # of `plateau`: validations without a better mIoU, and what the rate is cut to then


class LRSchedule:
    """A factor on the learning rate, by the step.

    Every rate is a function of the step and of few numbers, so that a run that goes on has the rates it would
    have had; Lightning calls plateau schedulers at a hook that a checkpoint of an epoch's end misses.
    """

    def __init__(self, name: ScheduleName, warmup: float) -> None:
        """Remember the settings.

        Args:
            name: See `SegmentationModule`.
            warmup: Share of all steps in which the rate rises.
        """
        self.name = name
        self.warmup = _ONECYCLE_WARMUP if name == "onecycle" and not warmup else warmup
        self.needs_total_steps = (
            name in ("poly", "cosine", "onecycle") or self.warmup > 0
        )  # needs the number of all steps
        self.reset()

    def reset(self) -> None:
        """Forget what validation said: training begins, with an optimiser of its own."""
        self._best, self._bad, self._cuts = -math.inf, 0, 0

    def scheduler(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """For Lightning, to be stepped with the optimiser.

        Args:
            optimizer: Whose rates it sets.
            steps: Number of all steps, if the schedule ends; else any.
        """
        return LambdaLR(optimizer, lambda step: self.multiplier(step, steps))

    def multiplier(self, step: int, steps: int) -> float:
        """What the rate is multiplied with.

        Args:
            step: From 0.
            steps: Number of all steps.
        """
        rise = round(self.warmup * steps)
        if step < rise:
            return _FLOOR + (1 - _FLOOR) * (step + 1) / (rise + 1)
        if self.name == "constant":
            return 1.0
        if self.name == "plateau":
            return float(_CUT**self._cuts)
        left = 1 - min(1.0, (step - rise) / max(1, steps - rise))  # 1 ... 0
        fall = left**_POWER if self.name == "poly" else (1 - math.cos(math.pi * left)) / 2
        return _FLOOR + (1 - _FLOOR) * fall

    def on_validation(self, miou: float) -> None:
        """Note a validation; from the next step on the rate is cut if the last ones were no better.

        Args:
            miou: Validation's mean IoU.
        """
        if miou > self._best:
            self._best, self._bad = miou, 0
            return
        self._bad += 1
        if self._bad > _PATIENCE:
            self._cuts, self._bad = self._cuts + 1, 0

    def plateau_state(self) -> dict[str, Any]:
        """What `judge` knows, for a checkpoint."""
        return {"best": self._best, "bad": self._bad, "cuts": self._cuts}

    def load_plateau(self, state: dict[str, Any] | None) -> None:
        """Go on from there."""
        if state is not None:
            self._best, self._bad, self._cuts = state["best"], state["bad"], state["cuts"]
