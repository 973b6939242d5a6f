"""The confusion matrix as numbers for people and as a picture."""

import numpy as np
import pytest

from vocseg.callbacks.confusion_image import confusion_image
from vocseg.visualization.confusion import matrix_view


def test_matrix_view_gives_row_shares_and_logarithmic_shades() -> None:
    view = matrix_view(np.array([[900, 100, 0], [0, 0, 0], [1, 99, 9900]]), ["a", "b", "c"])
    assert [cell.text for cell in view.rows[0].cells] == ["90", "10", ""]
    assert [cell.shade for cell in view.rows[2].cells] == pytest.approx([0, 0.5, 1], abs=0.011)
    assert {cell.pixels for cell in view.rows[1].cells} == {0}
    assert view.worst[0] == ("a", "b", 0.1)
    assert [row.pixels for row in view.rows] == [1000, 0, 10_000]


def test_matrix_view_of_many_classes_shows_those_with_errors() -> None:
    matrix = np.diag(np.full(150, 1000))
    matrix[140, 3] = 500
    view = matrix_view(matrix, [f"class {k}" for k in range(150)])
    assert view.left_out == 100
    assert {"class 3", "class 140"} <= set(view.names)


@pytest.mark.parametrize("count", [2, 21])
def test_confusion_image_has_a_cell_per_pair_of_classes(count: int) -> None:
    picture = confusion_image(
        matrix_view(np.eye(count, dtype=np.int64) * 9, ["x" * 30, *map(str, range(count - 1))])
    )
    blue = (picture == (11, 92, 173)).all(2)
    orange = (picture == (184, 72, 11)).all(2)
    assert 0.8 * 29**2 * count < blue.sum() <= 29**2 * count  # less the figures on them
    assert not orange.any()
    assert picture.shape[0] >= 30 * count
