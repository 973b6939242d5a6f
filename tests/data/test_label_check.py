"""Classes of masks: errors, warnings, pixel counts, balanced sampling."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import exports
from tests.data.conftest import ready
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError

OWN = {"image_folder": "images", "mask_folder": "masks", "val_fraction": 0.25}


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Twelve pairs with masks of 0 and 255."""
    exports.folders(tmp_path / "mine")
    return tmp_path / "mine"


def _prepared(root: Path, **options: object) -> VOCDataModule:
    return ready(root, **(OWN | options))  # type: ignore[arg-type]


def _draw(root: Path, change: object) -> None:
    for path in (root / "masks").iterdir():
        with Image.open(path) as picture:
            mask = np.asarray(picture)
        Image.fromarray(change(mask).astype(np.uint8)).save(path)  # type: ignore[operator]


@pytest.mark.parametrize("store", [True, False])
def test_masks_of_0_and_255_raise_with_remedy(binary: Path, store: bool) -> None:
    with pytest.raises(UserError, match="show 'thing' nowhere: they hold 0, 255, and 255 is ignored") as why:
        _prepared(binary, classes=binary / "classes.txt", cache=store)
    assert "--data.mask_values '[0, 255]'" in str(why.value)
    assert "`value: 255`" in str(why.value)


@pytest.mark.parametrize("way", ["flag", "file"])
def test_mapped_masks_of_0_and_255_train(binary: Path, way: str) -> None:
    (binary / "own.yaml").write_text("classes: [background, {name: thing, value: 255}]")
    options = (
        {"classes": binary / "classes.txt", "mask_values": [0, 255]}
        if way == "flag"
        else {"classes": binary / "own.yaml"}
    )
    with warnings.catch_warnings(action="error"):
        data = _prepared(binary, **options)
    values = [np.unique(data.parts["train"][k]["mask"].numpy()).tolist() for k in range(9)]
    assert {value for each in values for value in each} == {0, 1}
    assert data.class_pixels()[1] > 0


def test_mask_values_without_class_list_raise() -> None:
    with pytest.raises(UserError, match="Give the class list"):
        VOCDataModule(mask_values=[0, 255])


def test_absent_class_warns_once(binary: Path) -> None:
    (binary / "three.txt").write_text("background\nthing\nunicorn\n")
    _draw(binary, lambda mask: mask > 0)
    with pytest.warns(UserWarning, match="no mask of 'train' shows 'unicorn'") as said:
        _prepared(binary, classes=binary / "three.txt").prepare_data()  # as `finetune` does
    assert len([each for each in said if "unicorn" in str(each.message)]) == 1


def test_masks_of_one_class_raise(binary: Path) -> None:
    _draw(binary, np.zeros_like)
    with pytest.raises(UserError, match="show 'thing' nowhere: they hold 0, and 255"):
        _prepared(binary, classes=binary / "classes.txt")


def test_mostly_ignored_masks_warn(binary: Path) -> None:
    def half(mask: np.ndarray) -> np.ndarray:
        mask = (mask > 0).astype(np.uint8)
        mask[: len(mask) // 2] = 255
        return mask

    _draw(binary, half)
    with pytest.warns(UserWarning, match="50% of the pixels in the masks of 'train' have the value 255"):
        _prepared(binary, classes=binary / "classes.txt")


def test_complete_data_set_does_not_warn(sample: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        VOCDataModule(root=sample, image_size=64, cache_dir=tmp_path).prepare_data()
    # Others, such as that of a file which an earlier test left to the garbage collector, are not of this set.
    assert [str(each.message) for each in said if issubclass(each.category, UserWarning)] == []


def _counts(root: Path, cache_dir: Path, **options: object) -> list[int]:
    data = VOCDataModule(root=root, cache_dir=cache_dir, image_size=64, **options)  # type: ignore[arg-type]
    data.prepare_data()
    return data.class_pixels()


@pytest.mark.parametrize("augmentation", ["none", "crops"])
def test_class_pixels_equal_training_masks(sample: Path, tmp_path: Path, augmentation: str) -> None:
    options = {"augmentation": augmentation, "max_train_samples": 8}
    data = VOCDataModule(root=sample, cache_dir=tmp_path / "a", image_size=64, cache=True, **options)  # type: ignore[arg-type]
    data.prepare_data()
    stored = data.class_pixels()
    assert _counts(sample, tmp_path / "b", cache=False, **options) == stored
    assert len(stored) == 21
    if augmentation == "none":
        data.setup("fit")
        masks = np.stack([data.parts["train"][k]["mask"].numpy() for k in range(8)])
        assert stored == [int((masks == k).sum()) for k in range(21)]


def test_class_pixels_of_merged_classes_are_summed(sample: Path, tmp_path: Path) -> None:
    whole = _counts(sample, tmp_path / "a")
    (tmp_path / "classes.yaml").write_text(
        "classes:\n- background\n- name: thing\n  merge: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\nothers: void\n"
    )
    for store in (True, False):
        merged = _counts(sample, tmp_path / "b", classes=tmp_path / "classes.yaml", cache=store)
        assert merged == [whole[0], sum(whole[1:11])]


def test_balanced_weights_follow_rarest_class(sample: Path, tmp_path: Path) -> None:
    data = ready(sample, cache_dir=tmp_path, sampling="balanced")
    part = data.parts["train"]
    shown = [{int(value) for value in part[k]["mask"].unique()} - {255} for k in range(len(part))]
    frequency = {c: sum(c in classes for classes in shown) / len(shown) for c in set().union(*shown)}
    wanted = [max(1, *(frequency[c] ** -0.5 for c in classes)) for classes in shown]
    assert part.weights is not None
    assert part.weights.tolist() == pytest.approx(wanted)
    assert len(set(wanted)) > 1
    indices = [int(k) for batch in data.train_dataloader() for k in batch["index"]]
    assert len(set(indices)) < len(indices) == 20  # with replacement
    assert data.parts["val"].weights is None
