"""Lists of classes: from text and YAML, merged or not, and every mistake named."""

from pathlib import Path

import numpy as np
import pytest

from vocseg.class_files import read_classes
from vocseg.classes import VOC_CLASSES, named_classes
from vocseg.errors import UserError

MERGED = """
classes:
  - background
  - name: animal
    merge: [bird, cat, cow, dog, horse, sheep]
    colour: [200, 60, 60]
  - person
"""


def _read(folder: Path, text: str, name: str = "classes.yaml") -> object:
    (folder / name).write_text(text)
    return read_classes(folder / name)


def test_a_class_list_in_a_signature_is_short() -> None:
    assert repr(VOC_CLASSES) == "<ClassList of 21: background, aeroplane, ..., tvmonitor>"
    assert repr(named_classes(["sea", "land"])) == "<ClassList of 2: sea, land>"


def test_voc_needs_no_translation() -> None:
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES.as_stored
    assert VOC_CLASSES.describe_values() == "0..20 and 255 (void)"
    assert VOC_CLASSES.palette[15] == (192, 128, 128)
    assert VOC_CLASSES.palette[255] == (224, 224, 192)


def test_a_text_file_names_the_values_in_order(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffsky\n\n  road \r\nhouse", encoding="utf-8")
    classes = read_classes(tmp_path / "classes.txt")
    assert classes.names == ("sky", "road", "house")
    assert classes.as_stored
    assert np.flatnonzero(classes.known).tolist() == [0, 1, 2, 255]


def test_classes_are_merged_and_the_rest_becomes_background(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MERGED)
    classes = read_classes(tmp_path / "m.yaml")
    assert classes.names == ("background", "animal", "person")
    assert classes.colours == ((0, 0, 0), (200, 60, 60), (192, 128, 128))
    assert classes.table[[0, 3, 8, 15, 19, 255]].tolist() == [0, 1, 1, 2, 0, 255]
    assert np.flatnonzero(classes.known).tolist() == [*range(21), 255]
    assert not classes.as_stored


def test_the_rest_may_become_void(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MERGED + "others: void\n")
    classes = read_classes(tmp_path / "m.yaml")
    assert classes.table[[0, 3, 15, 19]].tolist() == [0, 1, 2, 255]
    assert classes.known[19]


def test_a_yaml_file_without_merges_gives_names_and_colours(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("- sky\n- {name: road, colour: [1, 2, 3]}\n")
    classes = read_classes(tmp_path / "c.yml")
    assert classes.names == ("sky", "road")
    assert classes.colours == ((0, 0, 0), (1, 2, 3))
    assert classes.as_stored


def test_mask_values_may_be_merged_by_number(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "- {name: ground, merge: [0, 7]}\n- {name: tree, merge: 23}\nothers: void"
    )
    with pytest.raises(UserError, match="not YAML"):
        read_classes(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("classes: [{name: ground, merge: [0, 7]}, {name: tree, merge: 23}]")
    assert read_classes(tmp_path / "c.yaml").table[[0, 7, 23]].tolist() == [0, 0, 1]


WRONG = {
    "one class": ("[a]", "names 1 classes; it takes 2 to 255"),
    "twice": ("[a, a]", "the class 'a' occurs twice"),
    "value twice": (
        "classes: [{name: a, merge: [0, 3]}, {name: b, merge: [3]}]",
        "the mask value '3' occurs twice",
    ),
    "not VOC's": (
        "classes: [background, {name: b, merge: [unicorn]}]",
        "'b' wants 'unicorn', which is neither",
    ),
    "no such value": ("classes: [background, {name: b, merge: [300]}]", "'b' wants 300"),
    "no name": ("classes: [background, {colour: [1, 2, 3]}]", "a class is a name, or has the keys"),
    "unknown key": ("classes: [background, {name: b, color: [1, 2, 3]}]", "has the keys name, colour, merge"),
    "colour": (
        "classes: [background, {name: b, colour: red}]",
        r"the colour of 'b' is 'red', not \[red, green",
    ),
    "no list": ("classes: animal", "wants a list `classes`"),
    "unknown top": ("classes: [a, b]\nrest: void", "wants a list `classes`"),
    "others alone": ("classes: [a, b]\nothers: void", "`others` means nothing"),
    "others what": ("classes: [background, {name: b, merge: [cat]}]\nothers: sky", "`others` is 'sky'"),
    "not YAML": ("classes: [a", "not YAML"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_list_is_named(tmp_path: Path, name: str) -> None:
    text, what = WRONG[name]
    with pytest.raises(UserError, match=rf"the class list .*classes.yaml: .*{what}"):
        _read(tmp_path, text)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the class list .*no.yaml does not exist"):
        read_classes(tmp_path / "no.yaml")


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "c.txt"):
        with pytest.raises(UserError, match=r"the class list .* cannot be read"):
            read_classes(path)


def test_more_classes_than_a_mask_can_hold_are_refused(tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("\n".join(f"c{k}" for k in range(256)))
    with pytest.raises(UserError, match="names 256 classes"):
        read_classes(tmp_path / "many.txt")
    assert len(named_classes([f"c{k}" for k in range(255)]).palette) == 256
