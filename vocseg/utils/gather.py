"""Objects of all processes."""

from typing import TypeVar

import torch

T = TypeVar("T")


def from_all(own: T, world: int) -> list[T]:
    """Gather an object of each of `world` processes, on every process."""
    each = [own] * world
    if world > 1:
        torch.distributed.all_gather_object(each, own)
    return each
