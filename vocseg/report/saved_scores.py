"""Scores read from `scores.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vocseg.metrics.aggregate import MEASURES, TRIMAP, ErrorBudget
from vocseg.metrics.bootstrap import Interval, ScoreIntervals
from vocseg.metrics.paired_test import Comparison, Difference, ImageChange
from vocseg.metrics.protocol import Protocol
from vocseg.report.reliability_diagram import Bin, Calibration
from vocseg.utils.json_values import INPUT_RESOLUTION, ORIGINAL_RESOLUTION

Plain = Mapping[str, Any]

SCORES = (ORIGINAL_RESOLUTION, INPUT_RESOLUTION, "after", "before")
PRIMARY = SCORES[:-1]  # the first that is there is what the page is about


def check(plain: Plain) -> None:
    """See that everything is there that a page may want.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: If not.
    """
    for score in filter(None, (plain.get(name) for name in SCORES)):
        classes = [str(name) for name in score["classes"]]
        if [*intervals_from(score["intervals"]).class_iou] != classes:
            raise ValueError("the intervals are of other classes")
        budget_from(score["error_budget"])
        protocol_from(score["protocol"])
        _number(score["loss"])
        if np.asarray(score["matrix"], np.int64).shape != (len(classes), len(classes)):
            raise ValueError("the matrix is of other classes")
    if ceiling := plain.get("ceiling"):
        _number(ceiling["mean_iou"])
    if calibration := plain.get("calibration"):
        calibration_from(calibration)
    if comparison := plain.get("comparison"):
        comparison_from(comparison)


def intervals_from(plain: Plain) -> ScoreIntervals:
    """What `ScoreIntervals.as_dict` made plain."""
    return ScoreIntervals(
        {name: _interval(plain[name]) for name in _measures(plain)},
        {str(name): _interval(each) for name, each in plain["class_iou"].items()},
        {str(name): int(images) for name, images in plain["class_images"].items()},
        int(plain["resamples"]),
    )


def budget_from(plain: Plain) -> dict[str, float]:
    """The parts of `ErrorBudget.as_dict` that are known."""
    parts = {name: _number(plain[name]) for name in ErrorBudget.__dataclass_fields__}
    return {name: lost for name, lost in parts.items() if lost is not None}


def protocol_from(plain: Plain) -> Protocol:
    """What `asdict` made plain of it."""
    return Protocol(**plain)


def calibration_from(plain: Plain) -> Calibration | None:
    """What `Calibration.as_dict` made plain; None if no pixel was labelled."""
    names = ("expected_calibration_error", "mean_confidence", "pixel_accuracy")
    error, confidence, accuracy = (_number(plain[name]) for name in names)
    total = sum(int(each["pixels"]) for each in plain["bins"])
    if error is None or confidence is None or accuracy is None or not total:
        return None
    bins = (
        Bin(
            float(each["low"]),
            float(each["high"]),
            int(each["pixels"]) / total,
            _number(each["confidence"]),
            _number(each["accuracy"]),
        )
        for each in plain["bins"]
    )
    protocol = protocol_from(plain["protocol"])
    where = "the pictures' own size" if protocol.resolution == "original" else protocol.views
    return Calibration(error, confidence, accuracy, where, tuple(bins))


def comparison_from(plain: Plain) -> Comparison:
    """What `Comparison.as_dict` made plain."""
    return Comparison(
        (str(plain["a"]["name"]), str(plain["b"]["name"])),
        (int(plain["a"]["runs"]), int(plain["b"]["runs"])),
        (protocol_from(plain["protocol"]), protocol_from(plain["protocol_b"])),
        {name: _difference(plain[name]) for name in _measures(plain)},
        {str(name): _difference(each) for name, each in plain["class_iou"].items()},
        tuple(
            ImageChange(str(each["id"]), float(each["a"]), float(each["b"]), float(each["influence"]))
            for each in plain["images"]
        ),
        _number(plain["seed_spread"]),
        int(plain["resamples"]),
    )


def _measures(plain: Plain) -> tuple[str, ...]:
    return (*MEASURES, TRIMAP) if TRIMAP in plain else MEASURES


def _interval(plain: Plain) -> Interval:
    return Interval(*(_number(plain[name]) for name in ("estimate", "low", "high")))


def _difference(plain: Plain) -> Difference:
    change = Interval(*(_number(plain[name]) for name in ("difference", "low", "high")))
    return Difference(
        _number(plain["a"]), _number(plain["b"]), change, _number(plain["probability_b_better"])
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
