"""Data sets with other folders, file endings and class lists."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import exports
from tests.data.conftest import ready, voc_folder
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.voc import split_ids
from vocseg.errors import UserError

OWN = {"image_folder": "images", "mask_folder": "masks", "mask_values": [0, 255], "val_fraction": 0.25}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Twelve pairs: images of four endings, names with spaces and umlauts."""
    exports.folders(tmp_path / "mine")
    return tmp_path / "mine"


def _prepared(root: Path, **options: object) -> VOCDataModule:
    own = OWN | {"classes": root / "classes.txt"} if (root / "classes.txt").exists() else {}
    return ready(root, **(own | options))  # type: ignore[arg-type]


def test_mixed_image_suffixes_are_found(sample: Path, copied: Path) -> None:
    folder = voc_folder(copied)
    for k, path in enumerate(sorted((folder / "JPEGImages").iterdir())):
        path.rename(path.with_suffix((".jpg", ".JPG", ".jpeg", ".Jpeg")[k % 4]))
    before, after = (next(iter(_prepared(root).val_dataloader())) for root in (sample, copied))
    assert torch.equal(before["image"], after["image"])


def test_ambiguous_image_raises_without_suffix(mine: Path) -> None:
    twin = mine / "images" / "mein Bild für 0.png"
    Image.new("RGB", (30, 20)).save(twin)
    with pytest.raises(UserError, match="two images have the id 'mein Bild für 0'") as why:
        _prepared(mine)
    assert "--data.image_suffix" in str(why.value)
    assert len(_prepared(mine, image_suffix=".jpg", batch_size=1).ids("train")) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_ids_accept_spaces_and_umlauts(mine: Path, form: str) -> None:
    names = [unicodedata.normalize("NFC", path.stem) for path in sorted((mine / "masks").iterdir())]
    for path in [*(mine / "masks").iterdir(), *(mine / "images").iterdir()]:
        path.rename(path.with_name(unicodedata.normalize(form, path.name)))
    lists = mine / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:8]), encoding="utf-8")
    (lists / "val.txt").write_text("\n".join(names[8:]), encoding="utf-8")
    data = _prepared(mine, val_fraction=None)
    assert data.ids("train") == tuple(names[:8])
    assert next(iter(data.train_dataloader()))["image"].any()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("2007_1  1\n2007_2 -1\n2007_3  0\n", ["2007_1", "2007_2", "2007_3"]),
        ("2007_1\t1\n2007_2\t-1\n", ["2007_1", "2007_2"]),
        ("my photo 1\nmy photo 0\n", ["my photo 1", "my photo 0"]),
        ("photo 1\nphoto 0\n", ["photo 1", "photo 0"]),
        ("a 1\nb\n", ["a 1", "b"]),
    ],
)
def test_devkit_second_column_is_removed(tmp_path: Path, text: str, ids: list[str]) -> None:
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(text)
    assert split_ids(tmp_path, "train") == ids


def test_mask_folder_and_suffix_are_used(sample: Path, copied: Path) -> None:
    folder = voc_folder(copied)
    (folder / "labels").mkdir()
    for path in (folder / "SegmentationClass").iterdir():
        path.rename(folder / "labels" / f"{path.stem}_mask.png")
    with pytest.raises(UserError, match="SegmentationClass"):
        _prepared(copied)
    moved = _prepared(copied, mask_folder="labels", mask_suffix="_mask.png")
    before, after = (next(iter(data.val_dataloader())) for data in (_prepared(sample), moved))
    assert torch.equal(before["mask"], after["mask"])


def test_val_fraction_depends_on_ids_and_seed(mine: Path) -> None:
    one, same, other = (_prepared(mine, subset_seed=seed) for seed in (0, 0, 1))
    assert (len(one.ids("train")), len(one.ids("val"))) == (9, 3)
    assert not set(one.ids("train")) & set(one.ids("val"))
    assert one.ids("val") == same.ids("val") != other.ids("val")
    for folder, ending in (("images", ".jpg"), ("masks", ".png")):
        shutil.copy(mine / folder / f"mein Bild für 0{ending}", mine / folder / f"another{ending}")
    assert len(set(_prepared(mine).ids("val")) & set(one.ids("val"))) >= 2  # hardly anything moves


def test_val_fraction_of_list_splits_it(sample: Path) -> None:
    data = _prepared(sample, val_fraction=0.25)
    folder = voc_folder(sample)
    assert sorted(data.ids("train") + data.ids("val")) == sorted(split_ids(folder, "train"))
    assert len(data.ids("val")) == 5


def test_images_without_mask_warn_and_are_skipped(mine: Path) -> None:
    (mine / "masks" / "mein Bild für 3.png").unlink()
    with pytest.warns(UserWarning, match=r"1 image.* in .*images have no mask and are left out"):
        data = _prepared(mine)
    assert len(data.ids("train")) + len(data.ids("val")) == 11


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"val_fraction": None}, r"the lists in .* are none.*--data.val_fraction 0.2"),
        ({"mask_suffix": "_x.png"}, "of the 12 images in .* none has a mask ID_x.png in .*masks"),
        ({"image_folder": "photos"}, "no folder photos"),
    ],
)
def test_incomplete_data_set_is_not_voc(mine: Path, options: dict[str, object], what: str) -> None:
    with pytest.raises(UserError, match=what):
        _prepared(mine, **options)


def test_sub_folders_are_splits(tmp_path: Path) -> None:
    exports.roboflow(tmp_path)
    classes = tmp_path / "train" / "_classes.csv"
    places = {"image_folder": ".", "mask_folder": ".", "mask_suffix": "_mask.png"}
    data = _prepared(tmp_path, classes=classes, val_split="valid", **places)
    assert (len(data.ids("train")), len(data.ids("val"))) == (8, 4)
    assert all(id.startswith("train/") for id in data.ids("train"))


def test_rgb_masks_in_class_colours_are_read(tmp_path: Path) -> None:
    exports.cvat(tmp_path)
    data = _prepared(tmp_path, classes=tmp_path / "labelmap.txt", val_fraction=0.25)
    wanted = {id: mask for id, _, mask in exports.pairs(12)}
    for k, id in enumerate(data.ids("val")):
        assert np.array_equal(data.full_mask(k), wanted[id])
    path = tmp_path / "SegmentationClass" / f"{data.ids('train')[0]}.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture).copy()
    pixels[3, 4] = (1, 2, 3)
    Image.fromarray(pixels).save(path)
    with pytest.raises(UserError, match=r"has the colour \(1, 2, 3\) \(1 pixels .* x=4, y=3\)") as why:
        _prepared(tmp_path, classes=tmp_path / "labelmap.txt", val_fraction=0.25)
    assert str(path) in str(why.value)


def test_changed_class_colours_rebuild_cache(tmp_path: Path) -> None:
    exports.cvat(tmp_path)
    text = (tmp_path / "labelmap.txt").read_text()
    one = _prepared(tmp_path, classes=tmp_path / "labelmap.txt", val_fraction=0.25, cache=True)
    before = one.parts["val"][0]["mask"].numpy()
    swapped = text.replace("250,50,83", "x").replace("42,125,209", "250,50,83").replace("x", "42,125,209")
    (tmp_path / "labelmap.txt").write_text(swapped)
    two = _prepared(tmp_path, classes=tmp_path / "labelmap.txt", val_fraction=0.25, cache=True)
    assert np.array_equal(two.parts["val"][0]["mask"].numpy(), np.array([0, 2, 1])[before])
    assert one.facts("val") == two.facts("val")  # the files are the same
