"""Repair of masks that hold colours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused
from tests.data.audit.planting import MASK, MASKS, as_picture, found, read, rendering, reordered
from tests.data.conftest import ready
from vocseg.__main__ import main
from vocseg.data.audit.checks_masks import NotExactError, recover
from vocseg.data.audit.command import audit
from vocseg.data.classes import VOC_CLASSES
from vocseg.data.voc import split_ids

Change = Callable[[Image.Image], Image.Image]

EXACT: dict[str, Change] = {
    "RGB": rendering("RGB"),
    "RGBA": rendering("RGBA"),
    "another order": reordered,
    "quantised": lambda picture: picture.convert("RGB").quantize(64),
    "indices with alpha": lambda picture: Image.fromarray(np.asarray(picture)).convert("LA"),
}


def _all_values() -> np.ndarray:
    return np.array([[*range(21), 255]] * 3, np.uint8)


def _picture(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putpalette(np.asarray(VOC_CLASSES.palette, np.uint8).ravel().tolist())
    return picture


@pytest.mark.parametrize("name", EXACT)
def test_rendered_classes_are_recovered(name: str) -> None:
    assert np.array_equal(recover(EXACT[name](_picture(_all_values())), VOC_CLASSES), _all_values())


def test_unique_grey_levels_are_recovered() -> None:
    mask = _all_values()
    mask[np.isin(mask, (1, 16, 3, 18))] = 0
    assert np.array_equal(recover(rendering("L")(_picture(mask)), VOC_CLASSES), mask)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (rendering("L"), "grey 38 may be 1 or 16"),
        (lambda p: p.convert("RGB").resize((44, 9), Image.Resampling.BILINEAR), "is the colour of no class"),
        (
            lambda p: Image.merge("RGBA", (*p.convert("RGB").split(), Image.new("L", p.size, 9))),
            "transparent",
        ),
        (rendering("CMYK"), "mode CMYK"),
    ],
)
def test_ambiguous_mask_raises(change: Change, why: str) -> None:
    with pytest.raises(NotExactError, match=why):
        recover(change(_picture(_all_values())), VOC_CLASSES)


def test_repaired_copy_has_original_masks_and_no_fault(
    clean: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = sorted((copy / MASKS).iterdir())
    for path, name in zip(masks, EXACT, strict=False):
        as_picture(f"{MASKS}/{path.name}", EXACT[name])(copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    (copy / ".vocseg").mkdir()
    (copy / ".vocseg" / "old").touch()
    with pytest.raises(SystemExit) as exit:
        main(["audit", str(copy), "--repair", str(tmp_path / "out"), "--progress", "false"])
    assert exit.value.code == 1
    assert capsys.readouterr().out.endswith(
        f"wrote {tmp_path / 'out'} with 5 masks converted exactly, 0 refused\n"
    )
    assert all(path.read_bytes() == data for path, data in before.items())
    out = tmp_path / "out" / "VOCdevkit" / "VOC2012"
    assert not (out / ".vocseg").exists()
    repaired, original = audit(out, progress=False), audit(clean, cache=tmp_path / "cache", progress=False)
    assert found(repaired) == []
    assert repaired.lists == original.lists  # the fingerprints too
    with Image.open(out / MASK) as picture:
        assert picture.mode == "P"
        assert picture.getpalette() == [channel for colour in VOC_CLASSES.palette for channel in colour]


def test_unrepairable_mask_is_copied_and_reported(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, lossy = sorted(path.name for path in (copy / MASKS).iterdir())[:3]
    as_picture(f"{MASKS}/{good}", rendering("RGB"))(copy)
    as_picture(f"{MASKS}/{bad}", lambda p: p.convert("RGB").rotate(3, Image.Resampling.BILINEAR))(copy)
    as_picture(f"{MASKS}/{lossy}", rendering("RGB"), format="JPEG")(copy)
    audit(copy, repair=tmp_path / "out", progress=False)
    said = capsys.readouterr().out
    assert "1 mask converted exactly, 2 refused" in said
    assert f"not repaired: {MASKS}/{bad}: (" in said
    assert f"not repaired: {MASKS}/{lossy}: JPEG has changed its values" in said
    left = {finding.file for finding in found(audit(tmp_path / "out", progress=False))}
    assert left == {f"{MASKS}/{bad}", f"{MASKS}/{lossy}"}


def test_repair_without_convertible_mask_writes_nothing(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(copy, repair=tmp_path / "new" / "out", progress=False)
    assert not (tmp_path / "new").exists()
    assert "no mask could be repaired (0 refused)" in capsys.readouterr().out


OWN = "classes: [{name: ground, colour: [10, 20, 30]}, {name: thing, colour: [200, 0, 0]}]"


def _drawn_in_colours(voc: Path) -> None:
    colours = np.array([[10, 20, 30], [200, 0, 0]], np.uint8)
    for k, path in enumerate(sorted((voc / MASKS).iterdir())):
        picture = Image.fromarray(colours[(read(path) > 0).astype(np.uint8)])
        picture.convert("RGBA" if k % 2 else "RGB").save(path)


def test_masks_in_class_list_colours_are_valid(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    things = {path.name: int((read(path) > 0).sum()) for path in (copy / MASKS).iterdir()}
    _drawn_in_colours(copy)
    result = audit(copy, classes=tmp_path / "own.yaml", progress=False)
    assert result.findings == ()
    for each in result.lists:
        assert each.fingerprint is not None
        assert each.pixels[1] == sum(things[f"{id}.png"] for id in split_ids(copy, each.split))
    data = ready(copy, classes=tmp_path / "own.yaml", cache_dir=tmp_path / "run")
    assert data.facts("train")["fingerprint"] == {e.split: e.fingerprint for e in result.lists}["train"]


def test_unknown_colour_is_reported_with_its_pixel(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    _drawn_in_colours(copy)
    pixels = read(copy / MASK)[..., :3].copy()
    pixels[5, 9] = (200, 1, 0)
    Image.fromarray(pixels).save(copy / MASK)
    (finding,) = audit(copy, classes=tmp_path / "own.yaml", progress=False).findings
    assert (finding.kind, finding.file) == ("mask-colour", MASK)
    assert finding.text.startswith(
        "it has the colour (200, 1, 0) (1 pixels with such colours, the first at x=9"
    )


@pytest.mark.parametrize(
    ("out", "what"), [(".", "exists already"), ("JPEGImages/new", "lies within the data set")]
)
def test_repair_into_existing_or_data_folder_raises(
    copy: Path, capsys: pytest.CaptureFixture[str], out: str, what: str
) -> None:
    assert what in refused(capsys, ["audit", str(copy), "--repair", str(copy / out)])


def test_unwritable_repair_folder_raises(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_picture(MASK, rendering("RGB"))(copy)
    (tmp_path / "file").touch()
    said = refused(capsys, ["audit", str(copy), "--repair", str(tmp_path / "file" / "out")])
    assert "cannot be written: " in said
    assert {path.name for path in tmp_path.iterdir()} == {"VOCdevkit", "file"}
