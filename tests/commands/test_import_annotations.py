"""Import of COCO's and labelme's annotations."""

import base64
import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests import exports
from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.checkpoints.weights import read_weights
from vocseg.constants import PALETTE
from vocseg.data.classes import read_classes
from vocseg.data.splits import divide
from vocseg.data.voc import Layout, split_ids

Capture = pytest.CaptureFixture[str]
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]  # COCO's corners lie between pixels: rows and columns 1 to 4
WIDTH, HEIGHT = 12, 8


def _picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 1) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif)


def _coco(root: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    """A JSON of two images, a.jpg with the annotations and b.jpg with none; the images beside it."""
    for k in "ab":
        _picture(root / f"{k}.jpg")
    size = {"width": WIDTH, "height": HEIGHT}
    content: dict[str, Any] = {
        "images": [{"id": k, "file_name": f"{name}.jpg", **size} for k, name in enumerate("ab", 1)],
        "annotations": [{"image_id": 1, "category_id": 1, **each} for each in annotations],
        "categories": [{"id": 7, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    path = root / "coco.json"
    path.write_text(json.dumps(content | changes))
    return path


def _labelme(root: Path, drawn_on_a: list[dict[str, Any]], **changes: Any) -> Path:
    """Two images with a JSON each, the second with one square."""
    square = {"label": "dog", "points": [[1, 1], [4, 4]], "shape_type": "rectangle"}
    for name, drawn in (("a", drawn_on_a), ("b", [square])):
        _picture(root / f"{name}.jpg")
        size = {"imageWidth": WIDTH, "imageHeight": HEIGHT}
        content = {"shapes": drawn, "imagePath": f"{name}.jpg", "imageData": None, **size}
        (root / f"{name}.json").write_text(json.dumps(content | (changes if name == "a" else {})))
    return root


def _mask(root: Path, id: str = "a") -> np.ndarray:
    with Image.open(root / "SegmentationClass" / f"{id}.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette() == [channel for colour in PALETTE for channel in colour]
        return np.asarray(picture).copy()


def _filled(*regions: tuple[Any, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, value in regions:
        mask[place] = value
    return mask


def _without_holes(region: np.ndarray) -> np.ndarray:
    """A region filled up to its outlines; parts of fewer than three points are no polygons."""
    found = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    outlines = [outline for outline in found if len(outline) > 2]
    return cv2.drawContours(np.zeros(region.shape, np.uint8), outlines, -1, 1, cv2.FILLED)


def _run(*words: object) -> None:
    main(["import", *map(str, words)])


def test_coco_run_lengths_give_exact_masks(here: Path, capsys: Capture) -> None:
    exports.coco(Path("coco"))
    parts = ["coco/annotations/instances_train.json", "set", "--val", "coco/annotations/instances_val.json"]
    _run("coco", *parts)
    for id, _, mask in exports.pairs(12):
        assert np.array_equal(_mask(Path("set"), id), mask)
        part = "train" if id < "img_008" else "val"
        assert (Path("set/JPEGImages") / f"{id}.jpg").read_bytes() == Path(
            f"coco/{part}/{id}.jpg"
        ).read_bytes()
    assert read_classes(Path("set/classes.yaml")).names == exports.NAMES  # by id, not as the file has them
    assert split_ids(Path("set"), "val") == [f"img_{k:03d}" for k in range(8, 12)]
    assert "8 training and 4 validation images" in capsys.readouterr().out


def test_labelme_polygons_give_traced_masks(here: Path) -> None:
    exports.labelme(Path("annotated"))
    _run("labelme", "annotated", "set")
    for id, _, mask in exports.pairs(12):
        drawn = _mask(Path("set"), id)
        filled = [_without_holes(mask == value) for value in (0, 1, 2)]
        sure = (filled[1] + filled[2]) < 2
        assert sure.mean() > 0.9
        assert np.array_equal(drawn[sure], (filled[1] + 2 * filled[2])[sure])
    assert Path("set/JPEGImages/img_001.jpg").read_bytes() == Path("annotated/img_001.jpg").read_bytes()
    content = json.loads(Path("annotated/img_000.json").read_text())
    assert Path("set/JPEGImages/img_000.jpg").read_bytes() == base64.b64decode(content["imageData"])


@pytest.mark.parametrize("format", ["coco", "labelme"])
def test_imported_set_trains_with_the_printed_command(format: str, here: Path, capsys: Capture) -> None:
    exports.MAKERS["coco" if format == "coco" else "annotated"](Path("from"))
    source = "from/annotations/instances_train.json" if format == "coco" else "from"
    _run(format, source, "my set")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next     python -m vocseg fit --data.root 'my set' ")
    main([*shlex.split(last)[4:], *(word for word in tiny(Path("x")) if word not in ("--data.root", "x"))])
    about = read_weights(here / "lightning_logs/fit/version_0/unet_voc.pth").description
    assert tuple(about["classes"]) == exports.NAMES
    assert main(["audit", "my set", "--classes", "my set/classes.yaml", "--progress", "false"]) is None


def test_random_split_equals_datamodule(here: Path) -> None:
    exports.labelme(Path("annotated"))
    _run("labelme", "annotated", "set", "--val_fraction", "0.4", "--subset_seed", "3")
    layout = Layout(here / "set")
    listed = {name: tuple(split_ids(here / "set", name)) for name in ("train", "val")}
    for name in ("train", "val", "trainval"):
        (here / "set/ImageSets/Segmentation" / f"{name}.txt").unlink()
    train, val = divide(layout, ("train", "val"), 0.4, 3)
    assert (train.ids, val.ids) == (listed["train"], listed["val"])
    assert len(val.ids) == 5


@pytest.mark.parametrize(
    ("region", "wanted"),
    [
        ([SQUARE], [(np.s_[1:5, 1:5], 1)]),
        ([SQUARE, [6, 0, 12, 0, 12, 2, 6, 2]], [(np.s_[1:5, 1:5], 1), (np.s_[0:2, 6:12], 1)]),
        ([[-4, -4, 3, -4, 3, 99, -4, 99]], [(np.s_[:, :3], 1)]),
        ({"size": [HEIGHT, WIDTH], "counts": [3, 2, 91]}, [(np.s_[3:5, 0], 1)]),
    ],
)
def test_coco_region_covers_its_pixels(region: Any, wanted: Any, tmp_path: Path) -> None:
    _run("coco", _coco(tmp_path, [{"segmentation": region}]), tmp_path / "set")
    assert np.array_equal(_mask(tmp_path / "set"), _filled(*wanted))
    assert np.array_equal(_mask(tmp_path / "set", "b"), _filled())


def _bitmap(values: list[list[int]]) -> str:
    """A region as labelme embeds it."""
    stream = io.BytesIO()
    Image.fromarray(np.array(values, np.uint8) * 255).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


BITMAP = _bitmap([[1, 0, 1], [0, 1, 1]])


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ({"points": [[1, 1], [4, 4]], "shape_type": "rectangle"}, [(np.s_[1:5, 1:5], 1)]),
        ({"points": [[1, 1], [4, 1], [4, 4], [1, 4]]}, [(np.s_[1:5, 1:5], 1)]),
        ({"points": [[4, 4], [6, 4]], "shape_type": "circle"}, [(np.s_[2:7, 3:6], 1), (np.s_[3:6, 2:7], 1)]),
        (
            {"points": [[2, 1], [4, 2]], "shape_type": "mask", "mask": BITMAP},
            [(np.s_[1:3, 2:5], 1), (np.s_[1, 3], 0), (np.s_[2, 2], 0)],
        ),
    ],
)
def test_labelme_shape_covers_its_pixels(shape: dict[str, Any], wanted: Any, tmp_path: Path) -> None:
    _run("labelme", _labelme(tmp_path, [{"label": "dog", **shape}]), tmp_path / "set")
    assert np.array_equal(_mask(tmp_path / "set"), _filled(*wanted))


def test_smaller_region_is_on_top_and_crowds_are_ignored_below(tmp_path: Path, capsys: Capture) -> None:
    full = [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
    small = [{"segmentation": [SQUARE], "category_id": 7}, {"segmentation": [full]}]
    crowd = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 40, 56]}, "iscrowd": 1}
    _run("coco", _coco(tmp_path, small), tmp_path / "one")
    assert np.array_equal(_mask(tmp_path / "one"), _filled((np.s_[:], 1), (np.s_[1:5, 1:5], 2)))
    assert "1 images have overlapping regions of several classes: the smaller region is on top" in (
        capsys.readouterr().out
    )
    _run("coco", _coco(tmp_path, [small[0], crowd]), tmp_path / "two")
    assert np.array_equal(_mask(tmp_path / "two"), _filled((np.s_[:, :5], 255), (np.s_[1:5, 1:5], 2)))
    assert "1 crowd regions (iscrowd) are ignored (255) (first: a.jpg)" in capsys.readouterr().out


def test_box_without_region_is_ignored(tmp_path: Path, capsys: Capture) -> None:
    boxes = [
        {"bbox": [6, 1.5, 3.2, 2]},
        {"segmentation": [], "bbox": [0, 0, 1, 1]},
        {"segmentation": [SQUARE]},
    ]
    _run("coco", _coco(tmp_path, [*boxes, {}, {"image_id": 9}]), tmp_path / "set")
    wanted = _filled((np.s_[1:4, 6:10], 255), (np.s_[0, 0], 255), (np.s_[1:5, 1:5], 1))
    assert np.array_equal(_mask(tmp_path / "set"), wanted)
    said = capsys.readouterr().out
    assert "2 boxes without a region are ignored (255)" in said
    assert "1 annotations without a region are left out" in said
    assert "1 annotations of unknown images are left out (first: image_id 9)" in said


def test_labelme_background_and_ignore_labels_are_applied(tmp_path: Path, capsys: Capture) -> None:
    shapes = [
        {"label": "zebra", "points": [[0, 0], [11, 7]], "shape_type": "rectangle"},
        {"label": "_background_", "points": [[1, 1], [2, 2]], "shape_type": "rectangle"},
        {"label": "__ignore__", "points": [[5, 1], [6, 2]], "shape_type": "rectangle"},
        {"label": "line", "points": [[5, 1], [6, 2]], "shape_type": "line"},
        {"label": "dog", "points": [[5, 1], [6, 2]], "shape_type": "polygon"},
    ]
    _picture(tmp_path / "unseen.jpg")
    _run("labelme", _labelme(tmp_path, shapes), tmp_path / "set")
    wanted = _filled((np.s_[:], 2), (np.s_[1:3, 1:3], 0), (np.s_[1:3, 5:7], 255))
    assert np.array_equal(_mask(tmp_path / "set"), wanted)
    assert read_classes(tmp_path / "set/classes.yaml").names == ("background", "dog", "zebra")
    said = capsys.readouterr().out
    assert "2 shapes without an area (points, lines, polygons of two points) are left out (first: a)" in said
    assert "1 images without a JSON are left out" in said


def test_images_without_annotations_are_background_or_left_out(tmp_path: Path, capsys: Capture) -> None:
    exports.labelme(tmp_path / "in", 4)
    path = tmp_path / "in/img_002.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shapes": []}))
    _run("labelme", tmp_path / "in", tmp_path / "one")
    assert not _mask(tmp_path / "one", "img_002").any()
    assert (
        "1 images without annotations are all background (omit them: --skip_empty true"
        in capsys.readouterr().out
    )
    _run("labelme", tmp_path / "in", tmp_path / "two", "--skip_empty", "true")
    assert "1 images without annotations are left out (first: img_002)" in capsys.readouterr().out
    assert split_ids(tmp_path / "two", "trainval") == ["img_000", "img_001", "img_003"]


def test_missing_image_raises_or_is_omitted(tmp_path: Path, capsys: Capture) -> None:
    path = _coco(tmp_path, [{"segmentation": [SQUARE]}])
    content = json.loads(path.read_text())
    content["images"].append({"id": 3, "file_name": "far\\c.jpg"})
    path.write_text(json.dumps(content))
    said = refused(capsys, ["import", "coco", str(path), str(tmp_path / "set")])
    assert "the image 'far/c.jpg' of the annotations is missing. Pass its folder with --images" in said
    _run("coco", path, tmp_path / "set", "--skip_missing", "true")
    assert "1 images whose file is missing are left out (first: far/c.jpg)" in capsys.readouterr().out
    _picture(tmp_path / "elsewhere/c.jpg")
    _run("coco", path, tmp_path / "all", "--images", tmp_path, "--images", tmp_path / "elsewhere")
    assert split_ids(tmp_path / "all", "trainval") == ["a", "b", "far/c"]
    assert (tmp_path / "all/SegmentationClass/far/c.png").is_file()


def test_equal_ids_in_train_and_val_are_prefixed(tmp_path: Path) -> None:
    paths = [_coco(tmp_path / name, [{"segmentation": [SQUARE]}]) for name in ("one", "two")]
    _run("coco", paths[0], tmp_path / "set", "--val", paths[1])
    assert split_ids(tmp_path / "set", "train") == ["train/a", "train/b"]
    assert split_ids(tmp_path / "set", "val") == ["val/a", "val/b"]


@pytest.mark.parametrize("orientation", [6, 8])
def test_rotated_image_is_written_upright(orientation: int, tmp_path: Path, capsys: Capture) -> None:
    path = _coco(tmp_path, [{"segmentation": [SQUARE]}])
    _picture(tmp_path / "a.jpg", (HEIGHT, WIDTH), orientation)  # shown as 12x8
    _run("coco", path, tmp_path / "set")
    assert "1 images are rotated as their EXIF orientation requires" in capsys.readouterr().out
    with Image.open(tmp_path / "set/JPEGImages/a.jpg") as picture:
        assert (picture.size, dict(picture.getexif())) == ((WIDTH, HEIGHT), {})
    assert np.array_equal(_mask(tmp_path / "set"), _filled((np.s_[1:5, 1:5], 1)))


def test_image_annotated_as_stored_is_unchanged(tmp_path: Path, capsys: Capture) -> None:
    path = _coco(tmp_path, [{"segmentation": [SQUARE]}])
    _picture(tmp_path / "a.jpg", orientation=6)
    _picture(tmp_path / "b.jpg", orientation=3)
    _run("coco", path, tmp_path / "set")
    assert (tmp_path / "set/JPEGImages/a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    assert "1 images are rotated as their EXIF orientation requires (first: b)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("annotation", "changes", "what"),
    [
        ({}, {"categories": None}, "has no list 'categories'. Pass COCO's instances JSON"),
        ({"category_id": 5}, {}, "has an invalid record: KeyError 5"),
        ({"segmentation": {"size": [4, 4], "counts": [16]}}, {}, "has an invalid RLE: its size is not"),
        ({"segmentation": {"size": [8, 12], "counts": [90]}}, {}, "do not add up to"),
        ({"segmentation": {"size": [8, 12], "counts": [-4, 100]}}, {}, "has an invalid RLE"),
        (
            {"segmentation": [[*SQUARE, float("nan"), 3]]},
            {},
            "has coordinates that are not pairs",
        ),
        ({}, {}, "has no region of any class"),
        (
            {"segmentation": [SQUARE]},
            {
                "images": [
                    {"id": 1, "file_name": "a.jpg", "width": 30, "height": 20},
                    {"id": 2, "file_name": "b.jpg"},
                ]
            },
            "is 12x8 pixels, but its annotations were drawn on 30x20",
        ),
        (
            {"segmentation": [SQUARE]},
            {"images": [{"id": k, "file_name": "a.jpg"} for k in (1, 2)]},
            "has the id or the file of 'a'",
        ),
        (
            {"segmentation": [SQUARE]},
            {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "x/a.jpg"}]},
            "image 'x/a' .* has the id or the file of 'a'",
        ),
        ({}, {"images": [{"id": 1, "file_name": "a\n.jpg"}]}, "has an odd character"),
        (
            {},
            {"categories": [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]},
            "two categories have the id 1",
        ),
        (
            {"segmentation": [SQUARE]},
            {"categories": [{"id": k, "name": f"c{k}"} for k in range(300)]},
            "has 301 classes; 2 to 255 are allowed",
        ),
    ],
)
def test_invalid_coco_raises_and_writes_nothing(
    annotation: dict[str, Any], changes: dict[str, Any], what: str, tmp_path: Path, capsys: Capture
) -> None:
    path = _coco(tmp_path / "in", [annotation], **changes)
    said = refused(capsys, ["import", "coco", str(path), str(tmp_path / "set")])
    assert said.count("\n") == 1
    assert re.search(what, said), said
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


SHAPE = {"label": "dog", "shape_type": "polygon", "points": [[1, 1], [4, 1], [4, 4]]}


@pytest.mark.parametrize(
    ("shape", "changes", "what"),
    [
        (SHAPE, {"shapes": None}, "a.json has no list 'shapes'. It is not a labelme annotation: move it"),
        (SHAPE | {"label": 3}, {}, "shape 1 has no label"),
        (SHAPE | {"shape_type": "circle"}, {}, r"shape 1 \('dog', circle\) has 3 points instead of 2"),
        (
            SHAPE | {"points": [[1, 1], [2, float("inf")], [3, 3]]},
            {},
            "has coordinates that are not pairs",
        ),
        (SHAPE | {"shape_type": "mask", "points": [[1, 1], [2, 2]]}, {}, "has a corrupt mask"),
        (SHAPE, {"imageData": "?"}, "a.json: its imageData is corrupt"),
        (SHAPE, {"imageData": "aGVsbG8="}, "a.json cannot be read"),
        (SHAPE, {"imageWidth": 13}, "annotations were drawn on 13x8"),
        (SHAPE, {"imagePath": None}, "has an invalid image name None"),
    ],
)
def test_invalid_labelme_raises_and_writes_nothing(
    shape: dict[str, Any], changes: dict[str, Any], what: str, tmp_path: Path, capsys: Capture
) -> None:
    _labelme(tmp_path / "in", [shape], **changes)
    said = refused(capsys, ["import", "labelme", str(tmp_path / "in"), str(tmp_path / "set")])
    assert said.count("\n") == 1
    assert re.search(what, said), said
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["coco", "none.json", "set"], "none.json cannot be read: No such file"),
        (["coco", "text.json", "set"], "text.json is not valid JSON"),
        (["coco", "in", "set"], "in cannot be read: "),
        (["labelme", "text.json", "set"], "text.json is not a folder"),
        (["labelme", "empty", "set"], "empty has no JSON file"),
        (["labelme", "in", "empty"], "empty exists already"),
        (["labelme", "in", "set", "--val", "in", "--val_fraction", "0.2"], "Pass one of them"),
        (["labelme", "in", "text.json/set"], "text.json/set cannot be written (Not a directory)"),
    ],
)
def test_invalid_import_flags_raise(words: list[str], what: str, here: Path, capsys: Capture) -> None:
    _labelme(Path("in"), [SHAPE])
    Path("empty").mkdir()
    Path("text.json").write_text("{")
    assert what in refused(capsys, ["import", *words])
    assert sorted(each.name for each in here.iterdir()) == ["empty", "in", "text.json"]


def test_missing_pycocotools_raises_with_install_command(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    said = refused(capsys, ["import", "coco", str(tmp_path / "a.json"), str(tmp_path / "set")])
    assert 'pycocotools is missing. Install it: pip install "vocseg[import]"' in said
    _run("labelme", _labelme(tmp_path / "in", [SHAPE]), tmp_path / "set")  # needs nothing
