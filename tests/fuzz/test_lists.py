"""Split lists and class lists of any content."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import PLAIN, TEXT, VALUES, files, value_or_sentence
from vocseg.constants import CLASSES
from vocseg.data.audit.lists import read_splits
from vocseg.data.classes import VOC_CLASSES, ClassList, read_classes
from vocseg.data.voc import Layout, split_ids

LISTS = [
    b"2007_000001\n2007_000002\n2007_000003\n",
    b"\xef\xbb\xbf2007_000001\r\n\r\n2007_000002\r\n",
    b"2007_000001  1\n2007_000002 -1\n",
    "straße_1\nseq/0001\n".encode(),
]
YAML = [
    b"classes:\n- background\n- {name: animal, merge: [bird, cat, 3], colour: [200, 60, 60]}\n- person\n",
    b"classes: [{name: ground, merge: [0, 7]}, {name: tree, merge: 23}]\nothers: void\n",
    b"- sky\n- {name: road, colour: [1, 2, 3]}\n",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    return folder


LINES = st.lists(TEXT | st.sampled_from(["2007_000001", "2007_000002", "a/b", "a..b", "c:d"]), max_size=6)


@given(files(LISTS) | LINES.map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")))
@example(b"\xff\xfe2\x000\x00")
@example(b"2007_000001\x00\n")
@example(b"x" * 10_000 + b"\n")
@example("é".encode() * 200)
@example(b"../../etc/passwd\n")
@example(b"/etc/passwd\n")
@example(b"a\x1b[2Jb\n")
@example(b"a\nb\na\n")
@example(b"\n \n\t\n")
@example(b"")
def test_split_of_any_content_is_valid_or_refused(folder: Path, data: bytes) -> None:
    path = folder / "ImageSets" / "Segmentation" / "train.txt"
    path.write_bytes(data)
    ids = value_or_sentence(lambda: split_ids(folder, "train"), "train.txt")
    splits, faults = read_splits(Layout(folder), VOC_CLASSES)  # an audit refuses nothing
    assert ("list-invalid" in {fault.kind for fault in faults}) == (ids is None) == (not splits)
    if ids is None:
        return
    layout = Layout(folder)
    assert ids
    assert len(set(ids)) == len(ids)
    for path in (*map(layout.image, ids), *(layout.mask(id, "train") for id in ids)):
        assert path.resolve().is_relative_to(folder.resolve())
        assert str(path).isprintable()
        path.exists()  # which raises where a name is too long


def _read_classes(folder: Path, data: bytes, name: str) -> None:
    (folder / name).write_bytes(data)
    classes = value_or_sentence(lambda: read_classes(folder / name), name)
    if classes is not None:
        _check(classes)


def _check(classes: ClassList) -> None:
    assert 2 <= len(classes) == len(classes.colours) == len(classes.values) <= 255
    assert len(set(classes.names)) == len(classes)
    assert all(name.isprintable() and name.strip() and len(name) <= 100 for name in classes.names)
    assert all(type(c) is int and 0 <= c < 256 for colour in classes.colours for c in colour)
    assert set(classes.table.tolist()) == {*range(len(classes)), 255}
    assert len(classes.palette) == 256
    assert len(classes.describe_values()) < 1200


@given(files([b"sky\n\n  road \r\nhouse", b"\xef\xbb\xbfa\nb\n"]))
@example(b"a\x1b[2J\nb\n")
@example(b"x" * 200 + b"\nb")
@example(b"\n".join(b"%d" % k for k in range(300)))
def test_class_list_of_any_text_is_valid_or_refused(folder: Path, data: bytes) -> None:
    _read_classes(folder, data, "classes.txt")


ENTRY = VALUES | st.fixed_dictionaries(
    {"name": TEXT | st.sampled_from(CLASSES)},
    optional={
        "colour": VALUES | st.lists(PLAIN | st.integers(0, 255), min_size=3, max_size=3),
        "merge": VALUES | st.lists(st.sampled_from(CLASSES) | st.integers(0, 254), max_size=4),
    },
)


VALUE = st.builds(
    lambda entries, others: {"classes": entries} | ({} if others is None else {"others": others}),
    st.lists(ENTRY | st.sampled_from(CLASSES), max_size=5),
    st.none() | PLAIN | st.just("void"),
)


def _yaml(value: Any) -> bytes:
    return yaml.dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


@given(files(YAML) | (VALUE | VALUES).map(_yaml))
@example(b"[2001-99-99]")  # no such day: PyYAML lets datetime's own error through
@example(b"!!int x")
@example(b"!!timestamp x")
@example(b"[" * 1500)
@example(b"&a [*a, *a]")
@example(b"{classes: [{name: a, merge: &a [*a]}, b]}")
@example(b"{classes: [{name: a, merge: []}, {name: b, merge: [3]}], others: void}")
@example(b"[{name: a, colour: [1.0, 2.0, true]}, b]")
@example(b"[a, b, '']")
@example(b'[a, "\\e[2J"]')
@example(b"[" + b",".join(b"c%d" % k for k in range(300)) + b"]")
@example(
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (k, k, b",".join([b"*%c" % (k - 1)] * 9)) for k in range(98, 106))
    + b"classes: [{name: *i}, b]"
)
def test_class_list_of_any_yaml_is_valid_or_refused(folder: Path, data: bytes) -> None:
    _read_classes(folder, data, "classes.yaml")
