"""Confusion matrix as rows for drawing."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FAINTEST = 1e-4  # fraction of a row with shade 0; shades are logarithmic from here to 1
MOST = 50  # shown classes, those with the most errors
_WORST = 6  # confusions in the list


class Cell(NamedTuple):
    """Pixels of a true class predicted as one class, in the row of the true class."""

    pixels: int
    shade: float  # 0 to 1
    text: str  # per cent of the row
    right: bool


class MatrixRow(NamedTuple):
    """A true class; `pixels` counts all predicted classes, shown or not."""

    name: str
    pixels: int
    cells: tuple[Cell, ...]


class MatrixView(NamedTuple):
    """A confusion matrix for drawing."""

    names: tuple[str, ...]  # predicted classes
    rows: tuple[MatrixRow, ...]  # true classes
    left_out: int  # number of classes that are not shown
    worst: list[tuple[str, str, float]]  # true class, predicted class, fraction of the true class


def matrix_view(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> MatrixView:
    """Rows and most frequent confusions of an int64 `[C,C]`, rows true, columns predicted."""
    wrong = matrix - np.diag(matrix.diagonal())
    shown = np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:MOST]).tolist()
    totals = matrix.sum(1).tolist()
    rows = tuple(
        MatrixRow(
            classes[true],
            totals[true],
            tuple(_cell(int(matrix[true, k]), totals[true], k == true) for k in shown),
        )
        for true in shown
    )
    shares = wrong / np.maximum(matrix.sum(1), 1)[:, None]
    largest = [
        divmod(k, len(classes)) for k in np.argsort(-shares, axis=None, kind="stable")[:_WORST].tolist()
    ]
    worst = [(classes[true], classes[k], float(shares[true, k])) for true, k in largest if wrong[true, k]]
    return MatrixView(tuple(classes[k] for k in shown), rows, len(classes) - len(shown), worst)


def _cell(pixels: int, total: int, right: bool) -> Cell:
    share = pixels / total if total else 0.0
    shade = 1 - math.log(share) / math.log(FAINTEST) if share > FAINTEST else 0.0
    return Cell(pixels, round(shade, 2), f"{100 * share:.0f}" if share >= 0.005 else "", right)
