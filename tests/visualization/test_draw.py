"""Overlays, error maps and panels."""

import numpy as np

from vocseg.constants import PALETTE
from vocseg.visualization.draw import colour, error_map, overlay, panel, sheet


def _case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.full((40, 40, 3), 200, np.uint8)
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 15
    truth[8:10] = 255
    prediction = np.zeros((40, 40), np.uint8)
    prediction[10:30, 20:38] = 15
    return image, truth, prediction


def test_masks_have_voc_colours() -> None:
    _, truth, _ = _case()
    assert tuple(colour(truth)[20, 20]) == PALETTE[15]
    assert tuple(colour(truth)[8, 0]) == PALETTE[255]


def test_error_map_marks_missed_and_invented_pixels() -> None:
    image, truth, prediction = _case()
    errors = error_map(image, truth, prediction)
    assert tuple(errors[0, 0]) == (50, 50, 50)  # right
    assert tuple(errors[20, 25]) == (50, 50, 50)  # right
    assert tuple(errors[20, 12]) == (255, 255, 255)  # object missed
    assert tuple(errors[20, 34]) == (255, 210, 0)  # object invented
    assert tuple(errors[8, 20]) == tuple(k // 2 for k in PALETTE[255])  # void, neither right nor wrong


def test_error_map_marks_confused_pixels() -> None:
    image, truth, _ = _case()
    errors = error_map(image, truth, np.where(truth == 15, 8, 0).astype(np.uint8))  # 8: cat, nearly black
    assert tuple(errors[20, 20]) == (255, 80, 170)


def test_overlay_tints_objects_only() -> None:
    image, truth, _ = _case()
    picture = overlay(image, truth)
    assert tuple(picture[35, 35]) == (200, 200, 200)
    assert tuple(picture[20, 20]) == tuple(int(0.4 * 200 + 0.6 * k) for k in PALETTE[15])


def test_panel_has_four_images_and_legend() -> None:
    picture = panel(*_case())
    assert picture.shape[1] == 4 * 256
    assert 256 < picture.shape[0] < 256 + 40
    legend = picture[256:].reshape(-1, 3)
    for label in (15, 255):
        assert (legend == PALETTE[label]).all(1).any()
    assert not (legend == PALETTE[12]).all(1).any()


def test_panels_with_different_legends_stack() -> None:
    image, truth, prediction = _case()
    everything = (np.arange(1600) % 21).reshape(40, 40).astype(np.uint8)
    picture = sheet([panel(image, truth, prediction), panel(image, everything, prediction)])
    assert picture.shape[1] == 1024
    assert picture.dtype == np.uint8
