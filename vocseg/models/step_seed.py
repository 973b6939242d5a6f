"""Random state of a training step."""

import random

import numpy as np
import torch


def seed_step(seed: int, epoch: int, batch: int, rank: int, device: torch.device) -> None:
    """Seed dropout and the like for one training step, so that resume does not depend on earlier steps.

    Args:
        seed: Seed of the run.
        epoch: Epoch, from 0.
        batch: Batch of the epoch, from 0.
        rank: Rank of the process.
        device: Device of the network.
    """
    first, second = np.random.SeedSequence((abs(seed), epoch, batch, rank)).generate_state(2)
    _seed(int(first), device)
    random.seed(int(second))


def _seed(seed: int, device: torch.device) -> None:
    # torch.manual_seed takes half a millisecond, as it visits all devices.
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
