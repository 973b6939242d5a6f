"""Lists and layout of VOC."""

from pathlib import Path

import pytest

from vocseg import constants
from vocseg.data import voc


def test_palette_matches_devkit() -> None:
    assert constants.PALETTE[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert constants.PALETTE[constants.CLASSES.index("person")] == (192, 128, 128)
    assert constants.PALETTE[constants.CLASSES.index("tvmonitor")] == (0, 64, 128)
    assert constants.PALETTE[255] == (224, 224, 192)


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_find_accepts_devkit_and_parents(sample: Path, below: str) -> None:
    assert voc.find(sample / below) == (sample / "VOCdevkit" / "VOC2012")


def test_split_list_accepts_windows_and_blank_lines(tmp_path: Path) -> None:
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_bytes(b"\xef\xbb\xbf2007_000001\r\n\r\n2007_000002\r\n")
    assert voc.split_ids(tmp_path, "train") == ["2007_000001", "2007_000002"]
