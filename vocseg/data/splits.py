"""Which images a split holds, or a seeded part of them, and what a score must say of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from vocseg.errors import UserError
from vocseg.voc import split_ids


class SplitFacts(TypedDict):
    """What a score must say about the images behind it."""

    split: str
    images: int
    fingerprint: str
    size: int


def fingerprint(ids: Sequence[str]) -> str:
    """Sixteen hexadecimal digits over ids and their order; equal ones mean the same images."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def split_part(folder: Path, split: str, images: int | None, seed: int, flag: str) -> list[str]:
    """The ids of a split, or of a random part of it, in the list's order.

    Args:
        folder: The `VOC2012` folder.
        split: Name of the list.
        images: Size of the part; None: all.
        seed: Chooses the part.
        flag: The option that asked for it, to be named if it asks for too many.

    Raises:
        UserError: If there is no such list, or it is shorter than the part.
    """
    ids = split_ids(folder, split)
    if images is None:
        return ids
    if images > len(ids):
        raise UserError(
            f"'{split}' has {len(ids)} images, but --data.{flag} asks for {images}: "
            f"use --data.{flag} {len(ids)}, or null for all"
        )
    chosen = np.random.default_rng(seed).permutation(len(ids))[:images]
    return [ids[k] for k in sorted(chosen.tolist())]
