"""Confusion matrix as rows for drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FAINTEST = 1e-4  # share of a row that is still shaded; the scale is logarithmic from here to 1
MOST = 50  # classes shown; of more, those with the most mistakes


@dataclass(frozen=True)
class Cell:
    """Pixels of one true class that were taken for one class: how many, as a share of the row, how dark."""

    pixels: int
    share: float
    shade: float
    text: str
    right: bool


@dataclass(frozen=True)
class MatrixRow:
    """A true class; `pixels` over all predicted classes, those not shown among them."""

    name: str
    pixels: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class MatrixView:
    """Names of the predicted classes, the rows, how many classes are left out, the commonest mistakes."""

    names: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    left_out: int
    worst: tuple[tuple[str, str, float, int], ...]


def matrix_view(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> MatrixView:
    """Lay a confusion matrix out.

    Args:
        matrix: int64 `[C,C]`, rows true, columns predicted.
        classes: Names of the C classes.
    """
    wrong = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:MOST]
    shown = sorted(int(k) for k in order)
    totals = matrix.sum(1)
    rows = tuple(
        MatrixRow(
            classes[true],
            int(totals[true]),
            tuple(_cell(int(matrix[true, k]), int(totals[true]), k == true) for k in shown),
        )
        for true in shown
    )
    names = tuple(classes[k] for k in shown)
    return MatrixView(names, rows, len(classes) - len(shown), _worst(wrong, totals, classes))


def _cell(pixels: int, total: int, right: bool) -> Cell:
    share = pixels / total if total else 0.0
    shade = 1 - math.log(share) / math.log(FAINTEST) if share > FAINTEST else 0.0
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    return Cell(pixels, share, round(shade, 2), text, right)


def _worst(
    wrong: npt.NDArray[np.int64], totals: npt.NDArray[np.int64], classes: Sequence[str], count: int = 6
) -> tuple[tuple[str, str, float, int], ...]:
    """The mistakes that take most of a true class: true, predicted, share, pixels."""
    shares = wrong / np.maximum(totals, 1)[:, None]
    found = []
    for place in np.argsort(-shares, axis=None, kind="stable")[:count]:
        true, said = divmod(int(place), len(classes))
        if wrong[true, said]:
            found.append((classes[true], classes[said], float(shares[true, said]), int(wrong[true, said])))
    return tuple(found)
