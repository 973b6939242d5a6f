"""Class lists in text and YAML."""

from pathlib import Path

import numpy as np
import pytest
from jsonargparse.typing import NonNegativeInt

from vocseg.data.classes import VOC_CLASSES, read_classes
from vocseg.errors import UserError

MERGED = """
classes:
  - background
  - name: animal
    merge: [bird, cat, cow, dog, horse, sheep]
    colour: [200, 60, 60]
  - person
"""


def test_voc_masks_are_stored_as_indices() -> None:
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES.as_stored
    assert VOC_CLASSES.describe_values() == "0..20 and 255"
    assert VOC_CLASSES.palette[15] == (192, 128, 128)
    assert VOC_CLASSES.palette[255] == (224, 224, 192)


def test_text_file_maps_lines_to_values(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffsky\n\n  road \r\nhouse", encoding="utf-8")
    classes = read_classes(tmp_path / "classes.txt")
    assert classes.names == ("sky", "road", "house")
    assert classes.as_stored
    assert np.flatnonzero(classes.known).tolist() == [0, 1, 2, 255]


def test_merge_assigns_rest_to_background(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MERGED)
    classes = read_classes(tmp_path / "m.yaml")
    assert classes.names == ("background", "animal", "person")
    assert classes.colours == ((0, 0, 0), (200, 60, 60), (192, 128, 128))
    assert classes.table[[0, 3, 8, 15, 19, 255]].tolist() == [0, 1, 1, 2, 0, 255]
    assert np.flatnonzero(classes.known).tolist() == [*range(21), 255]
    assert not classes.as_stored


def test_merge_with_others_void_ignores_rest(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MERGED + "  - {name: chair, value: 9}\nothers: void\n")
    classes = read_classes(tmp_path / "m.yaml")
    assert classes.table[[0, 3, 9, 15, 19]].tolist() == [0, 1, 3, 2, 255]
    assert classes.known[19]


def test_yaml_without_merge_gives_names_and_colours(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("- sky\n- {name: road, colour: [1, 2, 3]}\n")
    classes = read_classes(tmp_path / "c.yml")
    assert classes.names == ("sky", "road")
    assert classes.colours == ((0, 0, 0), (1, 2, 3))
    assert classes.as_stored


def test_single_name_gets_background(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "classes.txt").write_text("crack\n")
    for _ in range(2):
        classes = read_classes(tmp_path / "classes.txt")
        assert classes.names == ("background", "crack")
        assert classes.values == ((0,), (1,))
    said = capsys.readouterr().out
    assert said.count("names one class: `background` (mask value 0) is put before it") == 1


def test_single_merged_class_gets_background(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("classes: [{name: pet, merge: [cat, dog, 23]}]")
    assert read_classes(tmp_path / "c.yaml").table[[0, 8, 12, 15, 23, 255]].tolist() == [0, 1, 1, 0, 1, 255]


def test_values_map_masks_of_0_and_255(tmp_path: Path) -> None:
    typed = [NonNegativeInt(0), NonNegativeInt(255)]  # as from the command line
    (tmp_path / "c.yaml").write_text("classes: [background, {name: thing, value: 255}]")
    (tmp_path / "c.txt").write_text("background\nthing\n")
    for classes in (read_classes(tmp_path / "c.yaml"), read_classes(tmp_path / "c.txt", typed)):
        assert classes.table[[0, 255]].tolist() == [0, 1]
        assert np.flatnonzero(classes.known).tolist() == [0, 255]
        assert classes.describe_values() == "0, 255"
        assert classes.colours[1] == VOC_CLASSES.colours[1]


@pytest.mark.parametrize("values", [[0], [0, 256], [0, 0], [0, -1]])
def test_values_unlike_class_list_raise(tmp_path: Path, values: list[int]) -> None:
    (tmp_path / "c.txt").write_text("background\nthing\n")
    with pytest.raises(UserError, match=r"c\.txt"):
        read_classes(tmp_path / "c.txt", values)


def test_cvat_labelmap_gives_names_and_colours(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad sign:250,50,83::\ncar:42,125,209::\n"
    )
    classes = read_classes(tmp_path / "labelmap.txt")
    assert classes.names == ("background", "road sign", "car")
    assert classes.colours == ((0, 0, 0), (250, 50, 83), (42, 125, 209))
    assert classes.coloured


def test_roboflow_csv_gives_names_and_values(tmp_path: Path) -> None:
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, leaf\n3, fruit\n")
    classes = read_classes(tmp_path / "_classes.csv")
    assert classes.names == ("background", "leaf", "fruit")
    assert classes.values == ((0,), (1,), (3,))
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\nleaf, 1\n")
    with pytest.raises(UserError, match="'leaf' is not a mask value"):
        read_classes(tmp_path / "_classes.csv")


def test_coloured_requires_distinct_colours(tmp_path: Path) -> None:
    def coloured(text: str) -> bool:
        (tmp_path / "c.yaml").write_text(text)
        return read_classes(tmp_path / "c.yaml").coloured

    assert coloured("[background, {name: a, colour: [9, 9, 9]}]")
    assert not coloured("[background, {name: a, colour: [9, 9, 9]}, b]")
    assert not coloured("[background, {name: a, colour: [0, 0, 0]}]")
    assert not coloured("classes: [background, {name: a, merge: [cat], colour: [9, 9, 9]}]")


WRONG = {
    "background alone": ("[background]", "has 1 classes; 2 to 255"),
    "too many": (f"{[f'c{k}' for k in range(256)]}", "has 256 classes; 2 to 255"),
    "twice": ("[a, a]", "the class 'a' occurs twice"),
    "value twice": (
        "classes: [{name: a, merge: [0, 3]}, {name: b, merge: [3]}]",
        "the mask value '3' occurs twice",
    ),
    "not VOC's": ("classes: [background, {name: b, merge: [unicorn]}]", "'b' merges 'unicorn': name VOC"),
    "no such value": ("classes: [background, {name: b, merge: [300]}]", "'b' merges 300"),
    "no name": ("classes: [background, {colour: [1, 2, 3]}]", "is not a class: write a name"),
    "unknown key": ("classes: [background, {name: b, color: [1, 2, 3]}]", "is not a class: write a name"),
    "value above a byte": ("classes: [a, {name: b, value: 256}]", "is not a class: write a name"),
    "value of another class": ("classes: [a, {name: b, value: 0}]", "the mask value '0' occurs twice"),
    "colour": ("classes: [background, {name: b, colour: red}]", "is not a class: write a name"),
    "no list": ("classes: animal", "needs a list `classes`"),
    "unknown top": ("classes: [a, b]\nrest: void", "needs a list `classes`"),
    "others what": ("classes: [background, {name: b, merge: [cat]}]\nothers: sky", "`others` is 'sky'"),
    "not YAML": ("classes: [a", "not YAML"),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_class_list_raises(tmp_path: Path, name: str) -> None:
    text, what = WRONG[name]
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"the class list .*classes.yaml: .*{what}"):
        read_classes(tmp_path / "classes.yaml")


def test_unreadable_class_list_raises(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\x00")
    for path, what in (
        (tmp_path, "cannot be read"),
        (tmp_path / "no.txt", "cannot be read"),
        (tmp_path / "c.txt", "'utf-8' codec"),
    ):
        with pytest.raises(UserError, match=f"the class list .*{what}"):
            read_classes(path)
