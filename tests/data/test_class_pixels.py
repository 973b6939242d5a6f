"""Pixel counts by class, and balanced sampling."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vocseg.data.datamodule import VOCDataModule
from vocseg.data.voc import find, mask_path, split_ids
from vocseg.errors import UserError


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


def test_missing_mask_raises_or_is_skipped(sample: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sample, tmp_path / "copy"))
    folder = find(root)
    assert folder is not None
    before = _counts(root, tmp_path / "a", cache=False)
    mask_path(folder, split_ids(folder, "train")[3], "train").unlink()
    stopping, skipping = (
        VOCDataModule(root=root, cache_dir=tmp_path / "a", image_size=64, cache=False, on_read_error=way)  # type: ignore[arg-type]
        for way in ("stop", "skip")
    )
    assert 0 < sum(skipping.class_pixels()) < sum(before)
    with pytest.raises(UserError, match="is missing"):
        stopping.class_pixels()


def test_balanced_weights_follow_rarest_class(sample: Path, tmp_path: Path) -> None:
    data = VOCDataModule(root=sample, cache_dir=tmp_path, image_size=64, sampling="balanced")
    data.prepare_data()
    data.setup("fit")
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
