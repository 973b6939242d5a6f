"""`python -m vocseg submit`, as a user calls it."""

import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, refused
from vocseg import constants
from vocseg.__main__ import main
from vocseg.checkpoints.weights import save_weights
from vocseg.data import voc
from vocseg.data.classes import named_classes
from vocseg.models.metadata import describe
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]
Masks = dict[str, np.ndarray]
ARCHIVE = "voc2012_val_comp6.tar.gz"
pytestmark = pytest.mark.usefixtures("one_thread")


def _voc(root: Path) -> Path:
    folder = voc.find(root)
    assert folder is not None
    return folder


def _submit(root: Path, *words: str, split: str = "val") -> None:
    main(["submit", "--root", str(root), "--split", split, *words])


def _fails(root: Path, *words: str, split: str = "val") -> None:
    with pytest.raises(SystemExit) as exit:
        _submit(root, *words, split=split)
    assert exit.value.code == 1


@pytest.fixture(scope="module")
def packed(sample: Path, trained: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that the tiny network's predictions for the validation images were packed into."""
    output = tmp_path_factory.mktemp("packed") / "r.tar.gz"
    _submit(sample, "--ckpt_path", str(trained / "unet_voc.pth"), "--output", str(output))
    return output


def _unpacked(archive: Path, competition: int = 6) -> Masks:
    masks = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar.getmembers():
            folder, name = member.name.rsplit("/", 1)
            assert folder == f"results/VOC2012/Segmentation/comp{competition}_test_cls"
            file = tar.extractfile(member)
            assert file is not None
            with Image.open(file) as picture:
                assert (picture.format, picture.mode) == ("PNG", "P")
                assert picture.getpalette() == [channel for colour in constants.PALETTE for channel in colour]
                masks[name.removesuffix(".png")] = np.asarray(picture)
    return masks


def test_summary_describes_the_archive(sample: Path, trained: Path, here: Path, capsys: Capture) -> None:
    _submit(sample, "--ckpt_path", str(trained / "last.ckpt"), "--competition", "5")
    said = capsys.readouterr().out
    archive = here / "voc2012_val_comp5.tar.gz"
    assert len(_unpacked(archive, competition=5)) == 7
    assert "7 masks for the 7 images of 'val', competition 5" in said
    assert "no errors" in said
    assert "rehearsal on 'val'" in said
    assert [path.name for path in here.iterdir()] == [archive.name]


def test_split_test_needs_no_masks_and_prints_the_upload_address(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    folder = Path(shutil.copytree(_voc(sample), here / "VOC2012"))
    shutil.rmtree(folder / "SegmentationClass")
    voc.split_list(folder, "val").rename(voc.split_list(folder, "test"))
    _submit(here, "--ckpt_path", str(trained / "unet_voc.pth"), split="test")
    said = capsys.readouterr().out
    assert "host.robots.ox.ac.uk" in said
    assert "limits the number of submissions" in said
    assert "has 1,456 images" in said
    assert (here / "voc2012_test_comp6.tar.gz").is_file()


def test_masks_of_predict_give_bitwise_identical_archive(
    sample: Path, trained: Path, packed: Path, here: Path
) -> None:
    (here / "photos").mkdir()
    for id in voc.split_ids(_voc(sample), "val"):
        shutil.copy(voc.image_path(_voc(sample), id), here / "photos")
    words = [
        "--data.predict_dir",
        "photos",
        "--prediction_writer.output_dir",
        "out",
        "--trainer.accelerator",
        "cpu",
        "--data.batch_size",
        "1",
    ]
    main(["predict", "--ckpt_path", str(trained / "unet_voc.pth"), *words])
    _submit(sample, "--masks_dir", "out/masks")
    assert (here / ARCHIVE).read_bytes() == packed.read_bytes()


def test_masks_dir_accepts_gray_indices_and_ignores_other_files(
    sample: Path, packed: Path, here: Path
) -> None:
    (here / "masks").mkdir()
    for id, mask in _unpacked(packed).items():
        Image.fromarray(mask).save(here / "masks" / f"{id}.png")
    (here / "masks" / "2011_003145.png").write_bytes(b"of another list")
    _submit(sample, "--masks_dir", "masks")
    assert (here / ARCHIVE).read_bytes() == packed.read_bytes()


def test_invalid_masks_are_reported_and_nothing_is_written(
    sample: Path, packed: Path, here: Path, capsys: Capture
) -> None:
    (here / "masks").mkdir()
    masks = list(_unpacked(packed).items())
    for id, mask in masks[2:]:
        Image.fromarray(mask).save(here / "masks" / f"{id}.png")
    Image.new("RGB", masks[1][1].shape[::-1]).save(here / "masks" / f"{masks[1][0]}.png")
    _fails(sample, "--masks_dir", "masks")
    said = capsys.readouterr().out
    assert re.search(rf"masks/{masks[0][0]}.png", said)
    assert re.search(rf"masks/{masks[1][0]}.png +mode RGB", said)
    assert "errors: 2." in said
    assert f"{ARCHIVE} was not written" in said
    assert [path.name for path in here.iterdir()] == ["masks"]


def test_validate_invalid_archive_exits_with_code_1(sample: Path, packed: Path, capsys: Capture) -> None:
    before = packed.read_bytes()
    _fails(sample, "--validate", str(packed), split="train")
    said = capsys.readouterr().out
    ids = voc.split_ids(_voc(sample), "train")
    assert "name (7)" in said
    assert "missing (20)" in said
    assert re.search(rf"  {ids[0]}.png", said)
    assert f"{ids[8]}.png" not in said  # a few of each kind, and then their number
    assert "and 12 more" in said
    assert "errors: 27." in said.splitlines()[-1]
    _fails(sample, "--validate", str(packed), "--competition", "5")
    assert "name (7)" in capsys.readouterr().out
    assert packed.read_bytes() == before


def test_control_characters_in_entry_names_are_escaped(sample: Path, here: Path, capsys: Capture) -> None:
    with tarfile.open(here / "r.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("\x1b[2J[bold]x"))
    _fails(sample, "--validate", "r.tar.gz")
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\\x1b[2J[bold]x" in said


def test_existing_archive_is_replaced_only_with_replace(
    sample: Path, trained: Path, packed: Path, here: Path, capsys: Capture
) -> None:
    (here / ARCHIVE).write_bytes(b"precious")
    words = ["--ckpt_path", str(trained / "unet_voc.pth")]
    said = refused(capsys, ["submit", str(sample), "--split", "val", *words])
    assert f"--output {ARCHIVE} exists already" in said
    assert "--replace true" in said
    assert (here / ARCHIVE).read_bytes() == b"precious"
    _submit(sample, *words, "--replace", "true")
    assert (here / ARCHIVE).read_bytes() == packed.read_bytes()


def _weights(path: Path, names: list[str], data: dict[str, object] | None = None) -> None:
    module = SegmentationModule(encoder=TINY, num_classes=len(names))
    module.class_list = named_classes(names)
    save_weights(path, module, describe(module, 64, None, data))


def _swapped() -> list[str]:
    names = list(constants.CLASSES)
    names[8], names[12] = names[12], names[8]
    return names


WEIGHTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "five classes": (lambda path: _weights(path, list("abcde")), ["not VOC's 21"]),
    "another order": (lambda path: _weights(path, _swapped()), ["in VOC's order"]),
    "no file": (lambda path: None, ["no such file"]),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_other_classes_raise(sample: Path, here: Path, capsys: Capture, name: str) -> None:
    make, words = WEIGHTS[name]
    make(here / "w.pth")
    said = refused(capsys, ["submit", str(sample), "--split", "val", "--ckpt_path", "w.pth"])
    assert said.startswith("vocseg: --ckpt_path w.pth: ")
    for word in words:
        assert word in said
    assert not list(here.glob("*.gz"))


def test_weights_trained_on_sbd_raise_for_competition_5(sample: Path, here: Path, capsys: Capture) -> None:
    _weights(here / "w.pth", list(constants.CLASSES), {"train": {"split": "trainaug"}})
    words = ["submit", str(sample), "--split", "val", "--ckpt_path", "w.pth"]
    said = refused(capsys, [*words, "--competition", "5"])
    assert "w.pth was trained on 'trainaug'" in said
    assert "--competition 6" in said
    main(words)
    assert (here / ARCHIVE).is_file()


USES: dict[str, tuple[list[str], list[str]]] = {
    "nothing to do": ([], ["got 0 of --ckpt_path", "exactly one"]),
    "two things at once": (
        ["--masks_dir", "m", "--validate", "r.tar.gz"],
        ["got 2 of --ckpt_path", "exactly one"],
    ),
    "no data": (["--root", "nowhere", "--masks_dir", "."], ["no VOC 2012 in nowhere", "--root"]),
    "no list of the name": (["--split", "vall", "--masks_dir", "."], ["no split 'vall'", "train"]),
    "no list test": (
        ["--split", "test", "--masks_dir", "."],
        ["no split 'test'", "VOC2012test.tar", "--split val"],
    ),
    "no folder of masks": (["--masks_dir", "nowhere"], ["--masks_dir nowhere", "no such folder"]),
    "no archive": (["--validate", "r.tar.gz"], ["--validate r.tar.gz", "no such file"]),
    "a check that writes": (["--validate", "r.tar.gz", "--output", "x.tar.gz"], ["writes nothing"]),
    "another ending": (["--masks_dir", ".", "--output", "r.zip"], ["--output r.zip", ".tar.gz"]),
    "no folder to write to": (
        ["--masks_dir", ".", "--output", "a/r.tgz"],
        ["--output a/r.tgz", "folder is missing"],
    ),
    "an archive of another ending": (["--validate", "r.tar"], ["--validate r.tar", ".tar.gz"]),
}


@pytest.mark.parametrize("name", USES)
def test_invalid_flags_raise(sample: Path, here: Path, capsys: Capture, name: str) -> None:
    flags, words = USES[name]
    said = refused(capsys, ["submit", "--root", str(sample), "--split", "val", *flags])
    assert said.startswith("vocseg: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert not list(here.iterdir())


def test_missing_image_raises_before_prediction(
    sample: Path, trained: Path, here: Path, capsys: Capture
) -> None:
    folder = Path(shutil.copytree(_voc(sample), here / "VOC2012"))
    id = voc.split_ids(folder, "val")[-1]
    voc.image_path(folder, id).write_bytes(b"x")
    words = ["submit", str(here), "--split", "val", "--ckpt_path", str(trained / "unet_voc.pth")]
    assert f"{id}.jpg cannot be read (cannot identify" in refused(capsys, words)
    voc.image_path(folder, id).unlink()
    assert f"{id}.jpg cannot be read (No such file" in refused(capsys, words)
