"""The verb predict, from the command line."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pillow_heif import register_heif_opener

from tests.conftest import refused
from vocseg import constants
from vocseg.__main__ import main
from vocseg.checkpoints.weights import load_network
from vocseg.data import voc
from vocseg.data.predict_dataset import ImageFolderDataset
from vocseg.metrics.upsample import full_size_confidence

Capture = pytest.CaptureFixture[str]
FOLDER = Path("lightning_logs/predict/version_0")


def _predict(trained: Path, *words: str, code: int = 0) -> None:
    start = ["predict", "--ckpt_path", str(trained / "unet_voc.pth"), "--trainer.accelerator", "cpu"]
    words = (*start, "--trainer.enable_progress_bar", "false", *words)
    if code == 0:
        main(list(words))
        return
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == code


def _images(sample: Path) -> dict[str, Path]:
    folder = voc.find(sample)
    assert folder is not None
    return {id: voc.image_path(folder, id) for id in voc.split_ids(folder, "val")}


@pytest.fixture
def photos(sample: Path, here: Path) -> Path:
    """A folder with an image, one in a sub-folder, and a file that is none."""
    (here / "photos/trip/day 2").mkdir(parents=True)
    for path, name in zip(_images(sample).values(), ("a.jpg", "trip/day 2/b.jpg"), strict=False):
        shutil.copy(path, here / "photos" / name)
    (here / "photos/notes.txt").write_text("no image")
    return here / "photos"


def _areas(mask: Path) -> dict[str, int]:
    values, counts = np.unique(np.asarray(Image.open(mask)), return_counts=True)
    return {constants.CLASSES[value]: int(count) for value, count in zip(values, counts, strict=True)}


def test_predict_prints_and_writes_results_and_omitted_files(
    trained: Path, photos: Path, here: Path, capsys: Capture
) -> None:
    _predict(trained, "--data.predict_dir", "photos", "--json", "found.json")
    said = capsys.readouterr().out
    assert "2 of 2 images predicted in " in said
    assert "images/s" in said
    assert "1 left out:\n  notes.txt: not an image by its ending (.txt)\n" in said
    for kind in ("masks", "overlays"):
        assert f"{kind:<12}{FOLDER / kind}\n" in said
        assert len([path for path in (FOLDER / kind).rglob("*") if path.is_file()]) == 2
    assert str(FOLDER / "predictions.json") in said
    assert (FOLDER / "masks/trip/day 2/b.png").is_file()
    assert (FOLDER / "overlays/trip/day 2/b.jpg").is_file()
    found = json.loads((here / "found.json").read_text())
    assert found == json.loads((FOLDER / "predictions.json").read_text())
    assert found["images"].keys() == {"a.jpg", "trip/day 2/b.jpg"}
    for name, image in found["images"].items():
        width, height = Image.open(photos / name).size
        assert (image["width"], image["height"]) == (width, height)
        pixels = {each: area["pixels"] for each, area in image["classes"].items()}
        assert pixels == _areas(FOLDER / image["mask"])
        assert sum(area["share"] for area in image["classes"].values()) == pytest.approx(1)


def test_unreadable_image_is_omitted_with_exit_code_1(trained: Path, photos: Path, capsys: Capture) -> None:
    whole = (photos / "a.jpg").read_bytes()
    (photos / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "x.gif").write_bytes(b"GIF89a")
    _predict(trained, "--data.predict_dir", "photos", "--data.batch_size", "2", code=1)
    said = capsys.readouterr()
    assert "2 of 4 images predicted in " in said.out
    assert "2 cannot be read:\n  the image photos/broken.jpg cannot be read (image file is " in said.out
    assert "restore it from the archive" not in said.out
    assert "  the image photos/x.gif cannot be read (it is not an image file)" in said.out
    assert "Warning" not in said.err
    assert len(list(FOLDER.rglob("masks/**/*.png"))) == 2
    assert json.loads((FOLDER / "predictions.json").read_text())["left_out"].keys() == {
        "broken.jpg",
        "x.gif",
        "notes.txt",
    }


def test_confidence_image_is_probability_of_prediction(trained: Path, photos: Path) -> None:
    _predict(trained, "--data.predict_dir", "photos/a.jpg", "--prediction_writer.confidence", "true")
    with Image.open(FOLDER / "confidence/a.png") as picture, Image.open(photos / "a.jpg") as photo:
        assert (picture.mode, picture.size) == ("L", photo.size)
        grey = np.asarray(picture)
    mask = torch.from_numpy(np.array(Image.open(FOLDER / "masks/a.png"))).long()
    image = ImageFolderDataset(photos / "a.jpg", 64)[0]["image"][None]
    with torch.inference_mode():
        logits = load_network(trained / "unet_voc.pth")(image)
    full = torch.nn.functional.interpolate(logits, grey.shape, mode="bilinear").softmax(1)[0]  # [C,H,W]
    of_mask = full.gather(0, mask[None])[0]
    assert np.abs(255 * of_mask.numpy() - grey).max() < 0.51
    assert np.allclose(full_size_confidence(logits[0], (grey.shape[0], grey.shape[1])), of_mask, atol=1e-5)


FLIP = ["--tta.flip", "true"]
WAYS: dict[str, list[str]] = {
    "variants": [*FLIP, "--tta.scales", "[0.5,1]"],
    "windows": [
        *(*FLIP, "--original_resolution.sliding_window", "true"),
        *("--original_resolution.window_stride", "1"),
    ],
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", WAYS)
def test_predict_and_submit_masks_equal_scored_masks(
    sample: Path, trained: Path, here: Path, way: str
) -> None:
    """`test` keeps its predictions; the others have to write the same pixels."""
    shutil.copytree(sample, here / "set", ignore=shutil.ignore_patterns(".vocseg"))
    (here / "images").mkdir()
    two = dict(list(_images(here / "set").items())[:2])
    next((here / "set").rglob("val.txt")).with_name("two.txt").write_text("\n".join(two) + "\n")
    for path in two.values():
        shutil.copy(path, here / "images")
    flags = WAYS[way]
    size, bar = (
        ["--data.batch_size", "1" if way == "variants" else "4"],
        ["--trainer.enable_progress_bar", "false"],
    )
    weights = ["--ckpt_path", str(trained / "unet_voc.pth")]
    scored_set = ["--data.root", "set", "--data.val_split", "two", "--trainer.accelerator", "cpu"]
    main(["test", *weights, *scored_set, *size, *bar, *flags])
    _predict(trained, "--data.predict_dir", "images", *size, *flags)
    packed = ["--split", "two", "--output", "s.tar.gz"]
    main(["submit", "set", *weights, *packed, *flags])
    shutil.unpack_archive("s.tar.gz", "s", filter="data")
    scored = here / "lightning_logs/test/version_0/predictions"
    submitted = here / "s/results/VOC2012/Segmentation/comp6_test_cls"
    for id in two:
        pixels = np.asarray(Image.open(scored / f"{id}.png"))
        assert (pixels == np.asarray(Image.open(FOLDER / f"masks/{id}.png"))).all()
        assert (pixels == np.asarray(Image.open(submitted / f"{id}.png"))).all()
    found = json.loads((FOLDER / "predictions.json").read_text())
    assert found["tta"] is not None
    assert (found["windows"] is None) == ("--original_resolution.sliding_window" not in flags)


def _drawn(colour: Any = (200, 30, 30)) -> Image.Image:
    picture = Image.new("RGB", (60, 40), (0, 0, 0))
    picture.paste(colour, (0, 0, 30, 40))
    return picture


def test_heic_avif_and_gif_are_read(trained: Path, here: Path) -> None:
    register_heif_opener()
    (here / "photos").mkdir()
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    _drawn().save("photos/phone.heic", exif=exif.tobytes())
    _drawn().save("photos/web.avif", exif=exif)
    _drawn().save("photos/still.gif")
    _predict(trained, "--data.predict_dir", "photos")
    sizes = {path.stem: Image.open(path).size for path in (FOLDER / "masks").iterdir()}
    assert sizes == {"phone": (40, 60), "web": (40, 60), "still": (60, 40)}


def test_heic_without_package_is_omitted_with_install_command(
    trained: Path, photos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_heif_opener()
    _drawn().save("photos/phone.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    _predict(trained, "--data.predict_dir", "photos", code=1)
    assert (
        'photos/phone.heic cannot be read: HEIC needs pillow-heif. Install it: pip install "vocseg[heic]"'
        in (capsys.readouterr().out)
    )


def test_unwritable_result_raises(trained: Path, photos: Path, capsys: Capture) -> None:
    Path("out/overlays").mkdir(parents=True)
    Path("out/overlays/trip").write_text("in the place of a folder")
    words = ["predict", "--ckpt_path", str(trained / "unet_voc.pth"), "--data.predict_dir", "photos"]
    said = refused(capsys, [*words, "--prediction_writer.output_dir", "out"])
    assert "out/overlays/trip/day 2/b.jpg cannot be written (" in said
    assert sorted(path.name for path in Path("out").rglob("*.png")) == ["a.png", "b.png"]


def test_workers_and_threads_give_same_files(trained: Path, photos: Path) -> None:
    for name, workers in (("threads", "null"), ("processes", "1")):
        words = ["--data.num_workers", workers, "--prediction_writer.output_dir", name]
        _predict(trained, "--data.predict_dir", "photos", *words)
    for path in Path("threads").rglob("*.[pj][np]g"):
        assert path.read_bytes() == Path("processes", path.relative_to("threads")).read_bytes()
