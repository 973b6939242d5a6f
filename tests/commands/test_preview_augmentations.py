"""Command `augmentations`."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused
from vocseg.__main__ import main
from vocseg.commands import preview_augmentations
from vocseg.commands.preview_augmentations import WHAT, Section, Tile, augmentations, contact_sheet, tinted
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.transforms.augment import Augmentation

Capture = pytest.CaptureFixture[str]

LINE, GAP, LEGEND = 26, 6, 24  # of the sheet, in pixels


def _picture(sheet: np.ndarray, row: int, column: int, cell: int) -> np.ndarray:
    """A picture of the first block; column 0 is the original."""
    title = int((sheet == 225).all((1, 2)).argmax())  # below the legend
    y, x = title + LINE + GAP + row * (cell + LINE), GAP + column * (cell + GAP)
    return sheet[y : y + cell, x : x + cell]


def test_sheet_pixels_equal_training_inputs(sample: Path, tmp_path: Path) -> None:
    augmentations(sample, tmp_path / "a.png", ["strong"], images=20, epochs=2, image_size=128)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    for epoch in (0, 1):
        data = VOCDataModule(
            root=sample, image_size=128, batch_size=4, augmentation="strong", cache_dir=tmp_path, cache=True
        )
        data.prepare_data()
        data.setup("fit")
        data.progress.set_epoch(epoch)
        for batch in data.train_dataloader():
            for k, index in enumerate(batch["index"].tolist()):
                image = np.ascontiguousarray(batch["image"][k].permute(1, 2, 0).numpy())
                wanted = tinted(image, batch["mask"][k].numpy())
                assert (_picture(sheet, index, epoch + 1, 128) == wanted).all()


def test_command_draws_all_or_chosen_augmentations(sample: Path, here: Path, capsys: Capture) -> None:
    main(["augmentations", str(sample), "--images", "2", "--epochs", "2", "--image_size", "64"])
    assert "none, light, crops, standard, strong on 2 of 'train'" in capsys.readouterr().out
    whole = Image.open(here / "augmentations.png")
    assert whole.width == 3 * (128 + GAP) + GAP  # small pictures are enlarged twice
    assert 5 * 2 * (128 + LINE) < whole.height < 5 * (2 * (128 + LINE) + LINE + 2 * GAP) + 3 * LINE
    words = [
        "--augmentation",
        "crops",
        "--augmentation=light",
        "--image_id",
        "2007_000003",
        "--split",
        "trainval",
        "--image_size",
        "64",
    ]
    main(["augmentations", "--root", str(sample), *words, "--output", "two.png"])
    assert "crops, light on 1 of 'trainval'" in capsys.readouterr().out
    assert Image.open(here / "two.png").height < 3 * (128 + LINE + LINE + GAP)
    assert sorted(path.name for path in here.iterdir()) == ["augmentations.png", "two.png"]


def test_default_sheet_fits_screen_width(sample: Path, tmp_path: Path) -> None:
    sheet = Image.open(augmentations(sample, tmp_path / "a.png"))
    assert sheet.width == 6 * (200 + GAP) + GAP  # an original and five epochs, reduced from 256 pixels
    assert sheet.height < 9 * (200 + LINE) + 5 * (LINE + GAP) + 4 * LINE  # one row without augmentation


def test_inputs_without_augmentation_share_rows(sample: Path, tmp_path: Path) -> None:
    sheet = np.asarray(Image.open(augmentations(sample, tmp_path / "a.png", ["none"], 4, image_size=64)))
    for row, column in ((0, 1), (0, 3), (0, 5), (1, 1)):
        assert (_picture(sheet, row, column, 128) < 255).any(2).mean() > 0.8
    assert (_picture(sheet, 1, 2, 128) == 255).all()


def test_epochs_count_from_one(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []
    monkeypatch.setattr(
        preview_augmentations, "contact_sheet", lambda sections, *_: _captions(sections, captions)
    )
    augmentations(sample, tmp_path / "a.png", ["none", "light"], images=1, epochs=2, image_size=64)
    assert captions == ["2007_000001", "every epoch", "2007_000001", "epoch 1", "epoch 2"]


def _captions(sections: Sequence[Section], captions: list[str]) -> np.ndarray:
    captions += [tile.caption for section in sections for row in section.rows for tile in row]
    return np.zeros((8, 8, 3), np.uint8)


def test_originals_keep_aspect_ratio(sample: Path, tmp_path: Path) -> None:
    augmentations(sample, tmp_path / "a.png", ["none"], images=20, epochs=1, image_size=128)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    paper = [(_picture(sheet, row, 0, 128) == 255).all(2) for row in range(20)]
    assert sum(bool(each[0].all() or each[:, 0].all()) for each in paper) > 15  # room above or beside


REFUSED = {
    "no data": (["nowhere"], "there is no data set in nowhere"),
    "unknown image": (
        ["ROOT", "--image_id", "2007_00003"],
        "--image_id 2007_00003 is not in the split 'train'. It has 2007_0000",
    ),
    "unknown set": (["ROOT", "--augmentation", "much"], "--augmentation"),
    "unknown list": (["ROOT", "--split", "test"], "there is no split 'test'"),
    "no images": (["ROOT", "--images", "0"], "--images"),
    "a negative seed": (["ROOT", "--seed", "-1"], "--seed"),
    "a folder": (["ROOT", "--output", "."], "Pass a file name that ends in .png"),
    "no PNG": (["ROOT", "--output", "a.jpg"], "--output a.jpg: the sheet is a PNG"),
    "far too much": (["ROOT", "--images", "20", "--epochs", "900"], "megapixels, the limit is 100"),
    "no classes": (["ROOT", "--classes", "no.txt"], "the class list no.txt does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_augmentations_arguments_raise(sample: Path, here: Path, capsys: Capture, case: str) -> None:
    words, sentence = REFUSED[case]
    said = refused(capsys, ["augmentations", *(str(sample) if word == "ROOT" else word for word in words)])
    assert sentence in said
    assert said.count("\n") == 1
    assert list(here.iterdir()) == []


def test_every_augmentation_has_description() -> None:
    assert tuple(WHAT) == get_args(Augmentation)


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
