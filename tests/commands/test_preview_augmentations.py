"""Command `augmentations`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused
from tests.data.conftest import ready
from vocseg.__main__ import main
from vocseg.commands.preview_augmentations import GAP, LINE, augmentations, tinted
from vocseg.visualization.draw import legend

Capture = pytest.CaptureFixture[str]


def test_sheet_pixels_equal_training_inputs(sample: Path, tmp_path: Path) -> None:
    augmentations(sample, tmp_path / "a.png", ["strong"], images=20, epochs=2, image_size=160)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    data = ready(sample, 160, augmentation="strong", cache_dir=tmp_path, cache=True)
    classes = data.classes
    top = len(legend([*range(1, 21), 255], sheet.shape[1], classes)) + GAP + 2 * LINE
    for epoch in (0, 1):
        data.progress.set_epoch(epoch)
        for batch in data.train_dataloader():
            for k, index in enumerate(batch["index"].tolist()):
                image = batch["image"][k].permute(1, 2, 0).numpy()
                y, x = top + index * (160 + LINE + GAP), GAP + (epoch + 1) * (160 + GAP)
                assert (sheet[y : y + 160, x : x + 160] == tinted(image, batch["mask"][k].numpy())).all()


def test_command_draws_all_or_chosen_augmentations(sample: Path, here: Path, capsys: Capture) -> None:
    main(["augmentations", str(sample), "--images", "2", "--epochs", "2", "--image_size", "64"])
    assert "none, light, crops, standard, strong on 2 of 'train'" in capsys.readouterr().out
    words = (
        "--augmentation crops --augmentation=light --image_id 2007_000003 --split trainval --image_size 64"
    )
    main(["augmentations", "--root", str(sample), *words.split(), "--output", "two.png"])
    assert "crops, light on 1 of 'trainval'" in capsys.readouterr().out
    assert Image.open(here / "two.png").height < Image.open(here / "augmentations.png").height / 2
    assert sorted(path.name for path in here.iterdir()) == ["augmentations.png", "two.png"]


REFUSED = {
    "no data": (["nowhere"], "there is no data set in nowhere"),
    "unknown image": (
        ["ROOT", "--image_id", "2007_00003"],
        "--image_id 2007_00003 is not in the split 'train'",
    ),
    "unknown list": (["ROOT", "--split", "test"], "there is no split 'test'"),
    "a folder": (["ROOT", "--output", "."], "cannot be written"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_augmentations_arguments_raise(sample: Path, here: Path, capsys: Capture, case: str) -> None:
    words, sentence = REFUSED[case]
    said = refused(capsys, ["augmentations", *(str(sample) if word == "ROOT" else word for word in words)])
    assert sentence in said
    assert list(here.iterdir()) == []


def test_tinted_colours_objects_and_ignored_pixels_only() -> None:
    image, mask = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8), np.uint8)
    mask[:, 3:5], mask[:, 5:] = 255, 1
    picture = tinted(image, mask)
    assert (picture[:, :3] == 100).all()
    assert (picture[:, 3:5] == [149, 149, 136]).all()  # 0.6 of 100 and 0.4 of (224, 224, 192)
    assert (picture[:, 5:] == [111, 60, 60]).all()  # 0.4 of (128, 0, 0)
