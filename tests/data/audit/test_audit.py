"""Findings, report and errors of an audit."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused
from tests.data.audit.planting import (
    IMAGE,
    IMAGES,
    LISTS,
    MASK,
    MASKS,
    found,
    in_mask,
    read,
    save_mask,
)
from vocseg.__main__ import main
from vocseg.constants import CLASSES
from vocseg.data.audit.command import audit
from vocseg.data.audit.report import Audit
from vocseg.data.fingerprint import bytes_digest, cache_folder, read_contents, read_manifest
from vocseg.data.voc import split_ids


def _examine(folder: Path, **options: object) -> Audit:
    return audit(folder, progress=False, **options)  # type: ignore[arg-type]


def _fingerprints(result: Audit) -> dict[str, str | None]:
    return {each.split: each.fingerprint for each in result.lists}


def _bytes_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".vocseg" not in path.parts)
    return {path.relative_to(folder).as_posix(): bytes_digest(path.read_bytes()) for path in files}


def test_valid_sample_has_no_finding_and_is_unchanged(copy: Path) -> None:
    before = _bytes_of(copy)
    result = _examine(copy)
    assert [finding.kind for finding in result.notes] == ["list-classes"]  # 12 of 20 in six images
    assert result.faults == ()
    assert result.exit_code == 0
    assert result.files == 20
    assert _bytes_of(copy) == before


@pytest.mark.slow
def test_real_voc_has_no_finding(real_voc: Path, tmp_path: Path) -> None:
    result = _examine(real_voc, cache=tmp_path)
    assert result.findings == ()
    assert result.files == 8068
    assert all(_fingerprints(result).values())


def test_fingerprint_ignores_time_path_and_encoding(copy: Path, tmp_path: Path) -> None:
    before = _examine(copy)
    for path in copy.rglob("*.jpg"):
        os.utime(path, (1, 1))
    save_mask(copy / MASK, read(copy / MASK), np.zeros((256, 3)))  # the same indices, other bytes
    moved = shutil.copytree(copy, tmp_path / "elsewhere" / "VOC2012")
    for folder in (copy, moved):
        assert _fingerprints(_examine(folder)) == _fingerprints(before)


def test_fingerprint_changes_with_pixel_and_order(copy: Path) -> None:
    before = _fingerprints(_examine(copy))
    mask = read(copy / MASK).copy()
    mask[0, 0] = 255 if mask[0, 0] == 0 else 0
    save_mask(copy / MASK, mask)
    pixel = _fingerprints(_examine(copy))
    assert pixel["train"] != before["train"]
    assert pixel["val"] == before["val"]
    ids = split_ids(copy, "val")
    (copy / LISTS / "val.txt").write_text("\n".join([ids[1], ids[0], *ids[2:]]) + "\n")
    assert _fingerprints(_examine(copy))["val"] != before["val"]


def test_split_with_corrupt_file_has_no_fingerprint(copy: Path) -> None:
    (copy / IMAGE).write_bytes(b"")
    found = _fingerprints(_examine(copy))
    assert found["train"] is None
    assert found["trainval"] is None
    assert found["val"] is not None


def test_class_distribution_counts_pixels(copy: Path) -> None:
    train = next(each for each in _examine(copy).lists if each.split == "train")
    masks = [read(copy / MASKS / f"{id}.png") for id in split_ids(copy, "train")]
    values = [*range(21), 255]
    assert train.pixels == tuple(sum(int((mask == value).sum()) for mask in masks) for value in values)
    assert train.images_with == tuple(sum(bool((mask == value).any()) for mask in masks) for value in values)
    assert sum(train.shares) == pytest.approx(1)


def test_report_depends_on_data_only(copy: Path, tmp_path: Path) -> None:
    in_mask(lambda mask: np.full_like(mask, 99))(copy)
    _examine(copy, report=tmp_path / "one.json")
    moved = shutil.copytree(copy, tmp_path / "elsewhere" / "VOC2012")
    _examine(moved, report=tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    report = json.loads((tmp_path / "one.json").read_text())
    (finding,) = report["findings"]  # and no absent class: a mask that is wrong may show any
    assert (finding["kind"], finding["file"], finding["level"]) == ("mask-values", MASK, "fault")
    assert "holds the value 99" in finding["text"]
    assert report["faults"] == 1
    assert list(report["lists"]["val"]["pixels"]) == [*CLASSES, "void"]
    assert len(report["lists"]["val"]["fingerprint"]) == 16


def test_manifest_lists_valid_files(copy: Path) -> None:
    (copy / IMAGE).write_bytes((copy / IMAGE).read_bytes()[:5000])
    smaller = f"{MASKS}/{split_ids(copy, 'val')[0]}.png"
    save_mask(copy / smaller, read(copy / smaller)[:-2])
    _examine(copy)
    cache = cache_folder(copy)
    listed = {f"{IMAGES}/{id}.jpg" for id in split_ids(copy, "trainval")}
    listed |= {f"{MASKS}/{id}.png" for id in split_ids(copy, "trainval")}
    manifest = read_manifest(cache)
    assert set(manifest) == set(read_contents(cache)) == listed - {IMAGE, smaller}
    assert manifest[MASK] == bytes_digest((copy / MASK).read_bytes())


def test_class_list_defines_valid_values(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("background\nobject\n")
    result = _examine(copy, classes=tmp_path / "few.txt")
    assert {finding.kind for finding in result.findings} == {"mask-values"}
    assert len({finding.file for finding in result.findings}) == 10
    (tmp_path / "merged.yaml").write_text(
        f"classes: [background, {{name: object, merge: [{', '.join(CLASSES[1:])}]}}]"
    )
    result = _examine(copy, classes=tmp_path / "merged.yaml")
    assert result.faults == ()
    masks = [read(copy / MASKS / f"{id}.png") for id in split_ids(copy, "val")]
    val = next(each for each in result.lists if each.split == "val")
    assert val.pixels[1] == sum(int(((mask > 0) & (mask < 255)).sum()) for mask in masks)


def test_unlisted_images_and_test_split_without_masks_are_valid(copy: Path) -> None:
    for name in ("2012_000001", "2012_000002"):
        Image.effect_noise((100, 80), 60).convert("RGB").save(copy / IMAGES / f"{name}.jpg")
    (copy / LISTS / "test.txt").write_text("2012_000001\n")
    result = _examine(copy)
    assert found(result) == []


def test_audit_command_returns_exit_code(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(copy)]) is None
    assert capsys.readouterr().out.endswith("no fault, 1 note\n")
    (copy / IMAGE).unlink()
    (copy / MASK).write_bytes(b"")
    with pytest.raises(SystemExit) as exit:
        main(["audit", "--root", str(copy.parent.parent), "--progress", "false"])
    assert exit.value.code == 1
    said = capsys.readouterr().out
    assert said.endswith("2 faults in 2 files\n")
    assert "image-missing (1)" in said
    assert IMAGE in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nowhere"], "no data set in nowhere"),
        (["--image_suffix", "png"], "Pass .png"),
        (["--classes", "no.txt"], "class list no.txt: cannot be read"),
        (["--rooot", "x"], "do you mean --root"),
        (["--report", "there"], "there cannot be written"),
    ],
)
def test_invalid_audit_flag_raises(
    copy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    what: str,
) -> None:
    monkeypatch.chdir(copy)
    (copy / "there").mkdir()
    said = refused(capsys, ["audit", *(["."] if words[0].startswith("--") else []), *words])
    assert said.startswith("vocseg: ")
    assert said.count("\n") == 1
    assert re.search(what, said)


def test_many_near_duplicates_give_one_finding(copy: Path) -> None:
    with Image.open(copy / IMAGE) as picture:
        picture.load()
    for k, id in enumerate(split_ids(copy, "train")):
        smaller = picture.resize((picture.width - 8 * k, picture.height - 6 * k))
        smaller.save(copy / IMAGES / f"{id}.jpg")
        save_mask(copy / MASKS / f"{id}.png", np.full(smaller.size[::-1], 7))
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(copy / IMAGES / "2008_000001.jpg")
    save_mask(copy / MASKS / "2008_000001.png", np.full(picture.size[::-1], 7))
    (finding,) = found(_examine(copy))
    assert (finding.kind, finding.file) == ("duplicate", f"{IMAGES}/2008_000001.jpg")
    assert f"{IMAGE} (mirrored), " in finding.text
    assert "and 1 more" in finding.text
