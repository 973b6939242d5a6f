"""Overlays, error maps and panels."""

import numpy as np

from vocseg.constants import PALETTE
from vocseg.visualization.draw import error_map, labelled_overlay, overlay, panel


def _case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.full((40, 40, 3), 200, np.uint8)
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 15
    truth[8:10] = 255
    prediction = np.zeros((40, 40), np.uint8)
    prediction[10:30, 20:38] = 15
    return image, truth, prediction


def test_error_map_marks_each_kind_of_error() -> None:
    image, truth, prediction = _case()
    errors = error_map(image, truth, prediction)
    assert tuple(errors[0, 0]) == (50, 50, 50)  # right
    assert tuple(errors[20, 25]) == (50, 50, 50)  # right
    assert tuple(errors[20, 12]) == (255, 255, 255)  # false negative
    assert tuple(errors[20, 34]) == (255, 210, 0)  # false positive
    assert tuple(errors[8, 20]) == tuple(k // 2 for k in PALETTE[255])  # void, neither right nor wrong
    errors = error_map(image, truth, np.where(truth == 15, 8, 0).astype(np.uint8))
    assert tuple(errors[20, 20]) == (255, 80, 170)  # another class


def test_overlay_tints_objects_only() -> None:
    image, truth, _ = _case()
    picture = overlay(image, truth)
    assert tuple(picture[35, 35]) == (200, 200, 200)
    assert tuple(picture[20, 20]) == tuple(int(0.4 * 200 + 0.6 * k) for k in PALETTE[15])


def test_panel_has_the_proportions_of_the_image_and_a_title() -> None:
    _, truth, prediction = _case()
    wide = np.full((300, 400, 3), 200, np.uint8)
    picture = panel(wide, truth, prediction)
    assert (picture[:192, :255] == 200).all()
    assert (picture[193:195] == 255).all()  # the legend's paper
    assert panel(wide, truth, prediction, title="2007_000033").shape[0] == picture.shape[0] + 24
    tall = panel(np.full((400, 300, 3), 200, np.uint8), truth, prediction)
    assert (tall[:256, :32] == 255).all()
    assert (tall[:256, 32:224] == 200).all()


def test_panel_legend_lists_classes_by_area_without_specks() -> None:
    image, truth, prediction = np.full((100, 100, 3), 200, np.uint8), *np.zeros((2, 100, 100), np.uint8)
    truth[:10], truth[10:60], truth[99, :5] = 3, 12, 20
    below = panel(image, truth, prediction)[256:]
    columns = [np.flatnonzero((below == PALETTE[label]).all(-1).any(0)) for label in (12, 3, 20)]
    assert columns[0][0] < columns[1][0]
    assert not len(columns[2])


def test_labelled_overlay_names_objects_at_the_size_of_the_image() -> None:
    for side in (400, 1600):
        image, mask = np.full((side, side, 3), 200, np.uint8), np.zeros((side, side), np.uint8)
        mask[: side // 2, : side // 2] = 12
        picture = labelled_overlay(image, mask)
        assert picture.shape == image.shape
        label = (picture == PALETTE[12]).all(-1)  # the solid background of the name
        rows, columns = np.flatnonzero(label.any(1)), np.flatnonzero(label.any(0))
        assert side / 40 < np.ptp(rows) < side / 12
        assert rows[0] < side / 4 < rows[-1]
        assert columns[0] < side / 4 < columns[-1]
        assert (picture[side // 2 + side // 50 :] == 200).all()
        mask = np.where(np.indices(mask.shape).sum(0) < side // 4, 9, 0).astype(np.uint8)  # at the corner
        assert labelled_overlay(image, mask).shape == image.shape
