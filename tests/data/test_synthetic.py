"""Synthetic data set."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import voc_folder
from vocseg import constants
from vocseg.data import voc
from vocseg.data.image_io import read_image, read_mask
from vocseg.data.synthetic import write_sample
from vocseg.errors import UserError


def _bytes_of(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_sample_depends_on_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_sample(tmp_path / name, train=3, val=2, seed=seed, progress=False)
    a, b, c = (_bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    image = "VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg"
    assert a[image] != c[image]


def test_sample_has_voc_layout(sample: Path) -> None:
    folder = voc_folder(sample)
    train, val = voc.split_ids(folder, "train"), voc.split_ids(folder, "val")
    assert (len(train), len(val)) == (20, 7)
    assert voc.split_ids(folder, "trainval") == sorted(train + val)
    for id in train + val:
        image = read_image(voc.image_path(folder, id))
        mask = read_mask(voc.mask_path(folder, id, "train"))
        assert max(image.shape) == 500
        with Image.open(voc.mask_path(folder, id, "train")) as picture:
            assert picture.mode == "P"
            palette = picture.getpalette()
        assert palette is not None
        assert tuple(palette[45:48]) == constants.PALETTE[15]
        assert (mask == constants.IGNORE_INDEX).any()
        assert (mask == 0).mean() > 0.2


def test_sample_contains_every_class(sample: Path) -> None:
    folder = voc_folder(sample)
    found = [set(np.unique(read_mask(path))) - {0, 255} for path in (folder / "SegmentationClass").iterdir()]
    assert set().union(*found) == set(range(1, 21))
    assert max(map(len, found)) >= 3


def test_sample_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(tmp_path, train=2, val=1, progress=False)
    following = f"next     python -m vocseg fit --config demo --data.root {tmp_path}\n"
    assert capsys.readouterr().out.endswith(following)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_sample(tmp_path, train=2, val=1, progress=False)
    assert "exists already" in capsys.readouterr().out
    with pytest.raises(UserError, match="give another folder"):
        write_sample(tmp_path, train=3, val=1, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (tmp_path / "other/VOCdevkit/VOC2012/ImageSets/Segmentation").mkdir(parents=True)
    with pytest.raises(UserError, match="holds another data set"):
        write_sample(tmp_path / "other", train=1, val=1, progress=False)
