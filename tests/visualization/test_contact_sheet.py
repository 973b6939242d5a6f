"""Contact sheets."""

import numpy as np

from vocseg.visualization.contact_sheet import Section, Tile, contact_sheet, tinted

LINE, GAP, LEGEND = 26, 6, 24


def _shot(height: int, width: int, label: int = 0, caption: str = "") -> Tile:
    return Tile(
        np.full((height, width, 3), 100, np.uint8), np.full((height, width), label, np.uint8), caption
    )


def test_tinted_colours_objects_and_ignored_pixels_only() -> None:
    image, mask = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8), np.uint8)
    mask[:, 3:5], mask[:, 5:] = 255, 1
    picture = tinted(image, mask)
    assert (picture[:, :2] == 100).all()
    assert (picture[:, 2] == 255).all()  # the outline
    assert (picture[:, 3:5] == [149, 149, 136]).all()  # 0.6 of 100 and 0.4 of (224, 224, 192)
    assert (picture[:, 5:] == [111, 60, 60]).all()  # 0.4 of (128, 0, 0)
    assert (image == 100).all()


def test_images_keep_aspect_ratio_and_captions_fit() -> None:
    rows = [[_shot(40, 80), _shot(80, 40, 7)], [_shot(64, 64), _shot(64, 64, caption="very " * 40)]]
    sheet = contact_sheet([Section("a title", rows)], 64)
    assert sheet.shape[1] == 2 * (64 + GAP) + GAP
    top = LEGEND + GAP + LINE + GAP
    first = sheet[top : top + 64]
    wide, high = first[:, GAP : GAP + 64], first[:, 2 * GAP + 64 : 2 * GAP + 128]
    assert (wide[:16] == 255).all()
    assert (wide[16:48] == 100).all()
    assert (high[:, :16] == 255).all()
    assert (high[:, 16:48, 0] < 255).all()
    assert (sheet[:, -GAP:][LEGEND + GAP + LINE :] == 255).all()  # nothing runs out of it


def test_sheet_legend_has_occurring_classes() -> None:
    one, two = (contact_sheet([Section("", [[_shot(64, 200, label)]])], 200)[:LEGEND] for label in (0, 15))
    person = (two == [192, 128, 128]).all(2)
    assert person.sum() > 100
    assert not (one == [192, 128, 128]).all(2).any()


def test_shorter_sections_are_padded() -> None:
    sheet = contact_sheet([Section("a", [[_shot(64, 64)] * 3]), Section("b", [[_shot(64, 64)]])], 64)
    below = sheet[LEGEND + GAP + 2 * (LINE + GAP) + 64 + LINE :][:64]
    assert (below[:, GAP : GAP + 64] == 100).all()
    assert (below[:, GAP + 64 :] == 255).all()
