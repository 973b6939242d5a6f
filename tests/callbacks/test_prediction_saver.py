"""What `test` leaves for `report`: predictions as pictures, and whose weights were scored."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import refused, tiny
from tests.forks import run_together
from tests.test_processes import check_equal_scores
from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.metrics.label_errors import load_evidence, prediction_path
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.utils.atomic_write import AtomicFolder

Capture = pytest.CaptureFixture[str]


def _words(sample: Path, trained: Path) -> list[str]:
    return ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]


def test_saved_predictions_equal_what_was_scored(sample: Path, tested: Path) -> None:
    """The confusion matrices follow from pictures and masks to the pixel."""
    scores, evidence, folder = (
        load_per_image_confusion(tested / "per_image_confusion_original.npz"),
        load_evidence(tested),
        voc.find(sample),
    )
    assert evidence is not None
    assert folder is not None
    assert evidence.ids == scores.ids
    for id, matrix in zip(scores.ids, scores.matrices, strict=True):
        with Image.open(prediction_path(tested, id)) as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
            prediction = np.asarray(picture)
        truth = np.asarray(Image.open(voc.mask_path(folder, id, "val")))
        seen = truth != 255
        cells = truth[seen].astype(int) * 21 + prediction[seen]
        assert (np.bincount(cells, minlength=441).reshape(21, 21) == matrix).all()


def test_scores_name_their_weights(trained: Path, tested: Path) -> None:
    weights = json.loads((tested / "scores.json").read_text())["weights"]
    assert weights["path"] == str((trained / "unet_voc.pth").resolve())
    assert weights["run"] == str(trained.resolve())
    assert (tested / weights["relative"]).resolve() == (trained / "unet_voc.pth").resolve()
    assert weights["arch"] == "unet"


def test_scores_contain_data_root(sample: Path, tested: Path) -> None:
    evidence = load_evidence(tested)
    assert evidence is not None
    origin = evidence.origin
    layout = voc.Layout(Path(origin.folder), origin.image_folder, origin.image_suffix)
    assert all(layout.image(id).is_file() and layout.mask(id, origin.split).is_file() for id in evidence.ids)


def test_predictions_are_saved_at_original_resolution_unless_disabled(
    sample: Path, trained: Path, here: Path
) -> None:
    main(["validate", *_words(sample, trained)])
    main(["test", *_words(sample, trained), "--original_resolution.save_predictions", "false"])
    short = ["--trainer.limit_train_batches", "1"]
    main(["fit", *tiny(sample), *short, "--original_resolution.on_validate", "true"])
    assert not list(here.rglob("label_errors.npz"))
    assert not list(here.rglob("predictions"))
    main(["validate", *_words(sample, trained), "--original_resolution.on_validate", "true"])
    assert len(list(here.rglob("label_errors.npz"))) == 1


@pytest.mark.slow
def test_two_processes_save_the_predictions_of_one(
    sample: Path, trained: Path, tested: Path, here: Path
) -> None:
    words = ["test", *_words(sample, trained), "--data.batch_size", "1", "--trainer.accelerator", "cpu"]
    for done in run_together(words, here, 2):
        assert done.returncode == 0, done.stderr
        assert "duplicate" not in done.stderr
    folder = here / "lightning_logs/test/version_0"
    check_equal_scores(tested, folder)
    one, two = load_evidence(tested), load_evidence(folder)
    assert one is not None
    assert two is not None
    assert one.ids == two.ids
    assert np.allclose(one.regions, two.regions, atol=1e-5)
    pictures = {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}
    assert len(pictures) == 7
    assert pictures == {path.name: path.read_bytes() for path in (tested / "predictions").iterdir()}


def test_unwritable_prediction_raises_and_leaves_no_folder(
    sample: Path,
    trained: Path,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = AtomicFolder.write

    def full(folder: AtomicFolder, name: str, content: bytes) -> None:
        if len(list((here / "lightning_logs/test/version_0/.predictions.part").iterdir())) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(folder, name, content)

    monkeypatch.setattr(AtomicFolder, "write", full)
    said = refused(capsys, ["test", *_words(sample, trained)])
    assert "predictions/" in said
    assert "(No space left on device). Make room, or score without saving predictions" in said
    assert list(here.iterdir()) == []
