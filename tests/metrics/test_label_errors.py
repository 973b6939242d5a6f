"""Regions of confident disagreement and their file."""

from pathlib import Path

import numpy as np
import pytest

from vocseg.data.classes import VOC_CLASSES
from vocseg.errors import UserError
from vocseg.metrics.label_errors import (
    CONFIDENT,
    FILE,
    DataLocation,
    LabelErrorData,
    disagreement,
    load_evidence,
    prediction_path,
    regions_of,
)

CAT, DOG, PERSON = 8, 12, 15


def _scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and classes at 100x100 and a mask at 200x200, all background and agreed on."""
    return (
        np.full((100, 100), 0.99, np.float32),
        np.zeros((100, 100), np.uint8),
        np.zeros((200, 200), np.uint8),
    )


def test_region_has_size_box_and_classes() -> None:
    confidence, predicted, truth = _scene()
    truth[40:80, 20:100] = CAT  # at half the size: rows 20..40, columns 10..50
    predicted[20:40, 10:50] = DOG
    confidence[20:40, 10:50] = 0.95
    (region,) = regions_of(disagreement(confidence, predicted, truth))
    assert (region.label, region.predicted) == (CAT, DOG)
    assert region.share == pytest.approx(20 * 40 / 100**2)
    assert region.confidence == pytest.approx(0.95)
    assert region[4:] == pytest.approx((0.1, 0.2, 0.5, 0.4))


def test_ignored_unsure_and_agreeing_pixels_give_no_region() -> None:
    confidence, predicted, truth = _scene()
    predicted[:30] = DOG
    truth[:60] = 255
    predicted[60:] = truth[120:] = PERSON
    predicted[40:50] = CAT
    confidence[40:50] = CONFIDENT - 0.01
    assert regions_of(disagreement(confidence, predicted, truth)) == []


@pytest.mark.parametrize(("depth", "found"), [(3, 0), (4, 1)])
def test_region_along_border_of_predicted_class_is_left_out(depth: int, found: int) -> None:
    confidence, predicted, truth = _scene()
    truth[:, :100] = CAT
    predicted[:, :50] = CAT
    predicted[20:60, 50 : 50 + depth] = CAT
    assert len(regions_of(disagreement(confidence, predicted, truth))) == found
    predicted[20:60, 50 : 50 + depth] = DOG  # as thin, but no dog is labelled
    assert len(regions_of(disagreement(confidence, predicted, truth))) == 1


def test_border_grows_with_resolution_and_includes_ignored_pixels() -> None:
    truth = np.zeros((400, 400), np.uint8)
    truth[:, :200], truth[:, 200:204] = CAT, 255
    confidence, predicted = np.full((400, 400), 0.99, np.float32), np.zeros((400, 400), np.uint8)
    predicted[:, :210] = CAT  # 2.5 % of 400 pixels
    assert regions_of(disagreement(confidence, predicted, truth)) == []
    predicted[:, :211] = CAT
    assert len(regions_of(disagreement(confidence, predicted, truth))) == 1


def test_regions_are_separate_and_sorted_by_size() -> None:
    confidence, predicted, truth = _scene()
    predicted[0:10, 0:10] = CAT
    predicted[0:20, 10:40] = DOG  # touches the cat
    predicted[60:90, 60:90] = DOG
    found = regions_of(disagreement(confidence, predicted, truth))
    assert [(each.predicted, round(each.share * 100**2)) for each in found] == [
        (DOG, 900),
        (DOG, 600),
        (CAT, 100),
    ]


def test_label_error_data_round_trips_and_damage_raises(tmp_path: Path) -> None:
    names, colours, values = VOC_CLASSES.names, VOC_CLASSES.colours, VOC_CLASSES.values
    origin = DataLocation("d", "/d/VOC2012", "JPEGImages", ".jpg", "val", names, colours, values, (7,))
    regions = np.random.default_rng(0).random((2, 3, 8)).astype(np.float32)
    assert load_evidence(tmp_path) is None
    LabelErrorData(("a", 'b"<i>'), regions, origin).save(tmp_path)
    found = load_evidence(tmp_path)
    assert found is not None
    assert (found.ids, found.origin) == (("a", 'b"<i>'), origin)
    assert (found.regions == regions).all()
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:300])
    with pytest.raises(UserError, match=r"label_errors\.npz is damaged"):
        load_evidence(tmp_path)


@pytest.mark.parametrize("id", ["../../x", "/etc/x", "..", "a/b", "%2F", 'quote"s'])
def test_prediction_path_stays_in_folder(tmp_path: Path, id: str) -> None:
    assert prediction_path(tmp_path, id).resolve().parent == (tmp_path / "predictions").resolve()
    assert prediction_path(tmp_path, "a/b") != prediction_path(tmp_path, "a%2Fb")
