"""Random state of a training step."""

import random

import numpy as np
import torch


def seed_step(seed: int, epoch: int, batch: int, rank: int, device: torch.device) -> None:
    """Seed a training step.

    Its chance would else depend on all steps before, so that a run that was broken off could not go on as if
    it had not been.

    Args:
        seed: Of the run.
        epoch: From 0.
        batch: Number of the batch in the epoch.
        rank: Of the process: each gets numbers of its own.
        device: On which the network is computed.
    """
    first, second = np.random.SeedSequence((abs(seed), epoch, batch, rank)).generate_state(2)
    _seed(int(first), device)
    random.seed(int(second))


def _seed(seed: int, device: torch.device) -> None:
    """As `torch.manual_seed`, which takes half a millisecond to visit devices that are not in use."""
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
