"""Matrices by image as lists of the cells that are not zero, about one in twenty."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_MOST_CELLS = 1 << 27  # a gigabyte when they are written out


def sparse(name: str, counts: Counts) -> dict[str, npt.NDArray[Any]]:
    """How many such cells each image has, where they are, and what they hold.

    Args:
        name: What the arrays' names begin with.
        counts: int64 `[N,C,C]`.
    """
    flat = counts.reshape(len(counts), -1)
    image, cell = np.nonzero(flat)
    pixels = flat[image, cell]
    return {
        f"{name}_cells": np.bincount(image, minlength=len(flat)).astype(np.uint32),
        f"{name}_where": cell.astype(np.uint16 if flat.shape[1] <= 2**16 else np.uint32),
        f"{name}_pixels": pixels.astype(np.uint32 if pixels.max(initial=0) < 2**32 else np.uint64),
    }


def dense(arrays: Mapping[str, npt.NDArray[Any]], name: str, images: int, classes: int) -> Counts:
    """The matrices int64 `[N,C,C]` that `sparse` took apart.

    Args:
        arrays: From a file, so that they may be anything.
        name: What the arrays' names begin with.
        images: N.
        classes: C.

    Raises:
        KeyError: If an array is missing.
        ValueError: If they are something else.
    """
    cells, where, pixels = (arrays[f"{name}_{part}"] for part in ("cells", "where", "pixels"))
    for each in (cells, where, pixels):
        if each.ndim != 1 or not np.issubdtype(each.dtype, np.unsignedinteger):
            raise ValueError(f"the {name} are no lists of counts")
    if len(cells) != images or not int(cells.sum(dtype=np.float64)) == len(where) == len(pixels):
        raise ValueError(f"the {name} are not those of {images:,} images")
    if images * classes**2 > _MOST_CELLS or where.max(initial=0) >= classes**2:
        raise ValueError(f"the {name} are not those of {classes:,} classes")
    place = np.repeat(np.arange(images), cells) * classes**2 + where.astype(np.int64)
    if len(np.unique(place)) < len(place):
        raise ValueError(f"the {name} have a cell twice")
    counts = np.zeros(images * classes**2, np.int64)
    counts[place] = pixels
    return counts.reshape(images, classes, classes)
