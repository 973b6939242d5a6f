"""Lists and layout of VOC."""

from pathlib import Path

import pytest

from vocseg import constants
from vocseg.data import voc
from vocseg.errors import UserError


def test_palette_matches_devkit() -> None:
    assert constants.PALETTE[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert constants.PALETTE[constants.CLASSES.index("person")] == (192, 128, 128)
    assert constants.PALETTE[constants.CLASSES.index("tvmonitor")] == (0, 64, 128)
    assert constants.PALETTE[255] == (224, 224, 192)


def test_voc_has_21_classes() -> None:
    assert len(constants.CLASSES) == len(set(constants.CLASSES)) == 21
    assert constants.CLASSES[0] == "background"


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_find_accepts_devkit_and_parents(sample: Path, below: str) -> None:
    assert voc.find(sample / below) == (sample / "VOCdevkit" / "VOC2012")


@pytest.mark.parametrize(
    ("text", "what"), [("", "is empty"), ("a\nb\na\n", "'a' twice"), (None, "there is no split 'train'")]
)
def test_invalid_split_list_raises(tmp_path: Path, text: str | None, what: str) -> None:
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "train.txt").write_text(text)
    with pytest.raises(UserError, match=what):
        voc.split_ids(tmp_path, "train")


def test_split_list_accepts_windows_and_blank_lines(tmp_path: Path) -> None:
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_bytes(b"\xef\xbb\xbf2007_000001\r\n\r\n2007_000002\r\n")
    assert voc.split_ids(tmp_path, "train") == ["2007_000001", "2007_000002"]


ELSEWHERE = ["../../x", "/etc/passwd", "a/../b", "a\\b", "..", "a\x00b", "a\x1b[2Jb", "x" * 10_000]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_id_outside_data_set_raises(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(f"2007_000001\n{name}\n")
    with pytest.raises(
        UserError, match=r"line 2 of the split list .*train.txt .*: write one id a line"
    ) as caught:
        voc.split_ids(tmp_path, "train")
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()
    with pytest.raises(UserError, match="there is no split"):
        voc.split_ids(tmp_path, name)
