"""Loading of a scored run and its curves."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.constants import CLASSES
from vocseg.errors import UserError
from vocseg.metrics.label_errors import LabelErrorData, load_evidence
from vocseg.metrics.paired_test import Comparison
from vocseg.metrics.per_image import PerImageConfusion, load_per_image_confusion
from vocseg.metrics.protocol import Protocol
from vocseg.report import saved_scores
from vocseg.report.reliability_diagram import Calibration
from vocseg.utils.regular_file import read_json, read_regular
from vocseg.utils.yaml_loader import read_yaml

Points = tuple[tuple[float, float], ...]

_CLASS = "per_class_iou/"


@dataclass(frozen=True)
class LoggedCurves:
    """Figures by epoch, counted from 1.

    Attributes:
        folder: The run that they are of.
        series: Points `(epoch, value)` by the names that were logged.
    """

    folder: Path
    series: dict[str, Points]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes whose IoU was logged; VOC's in VOC's order."""
        names = {name.removeprefix(_CLASS) for name in self.series if name.startswith(_CLASS)}
        return (
            tuple(name for name in CLASSES if name in names) if names <= {*CLASSES} else tuple(sorted(names))
        )

    def at(self, name: str, epoch: float | None) -> float | None:
        """The value of a figure in an epoch; None if it has none there."""
        return dict(self.series.get(name, ())).get(epoch) if epoch is not None else None

    def last_epoch(self) -> float | None:
        """The newest epoch with a validation."""
        points = self.series.get("miou/val", ())
        return points[-1][0] if points else None

    def best_epoch(self) -> float | None:
        """The epoch with the highest validation mIoU."""
        points = self.series.get("miou/val", ())
        return max(points, key=lambda point: point[1])[0] if points else None


def read_curves(path: Path) -> LoggedCurves | None:
    """Read them; None if nothing is in there yet.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        text = read_regular(path)[0].decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if rows and (lacking := [axis for axis in _AXES if axis not in rows[0]]):
            raise ValueError(f"it has no column '{lacking[0]}'")
        series = {name: _points(rows, name) for name in (rows[0] if rows else {}) if name not in _AXES}
    except (OSError, ValueError, TypeError, csv.Error) as fault:
        raise UserError(
            f"{path} is damaged ({fault}): remove it, and the report goes without curves"
        ) from fault
    series = {name: points for name, points in series.items() if points}
    return LoggedCurves(path.parent, series) if series else None


_AXES = ("epoch", "step")


def _points(rows: list[dict[str, str]], name: str) -> Points:
    """What was logged by epoch; without an epoch (learning rates), by the share of all steps done.

    Several values of an epoch are of validations within it, at equal distances. A value before the first step
    is what fine-tuning starts from.
    """
    given = [row for row in rows if row[name] not in ("", None)]
    steps = max((_step(row) for row in rows), default=0) + 1
    epochs = max((int(row["epoch"]) for row in rows if row["epoch"]), default=0) + 1
    if len(given) > 1 and given[0]["epoch"] == given[1]["epoch"] == "0" and _step(given[0]) == 0:
        start, given = [(0.0, float(given[0][name]))], given[1:]
    else:
        start = []
    within, seen = Counter(row["epoch"] for row in given), Counter[str]()
    points = dict(start)
    for row in given:
        seen[row["epoch"]] += 1
        share = seen[row["epoch"]] / within[row["epoch"]]
        place = int(row["epoch"]) + share if row["epoch"] else epochs * _step(row) / steps
        points[place] = float(row[name])
    return tuple(sorted((place, value) for place, value in points.items() if math.isfinite(value)))


def _step(row: dict[str, str]) -> int:
    return int(row.get("step") or 0)


Plain = Mapping[str, Any]

SCORES, CURVES = "scores.json", "metrics.csv"
IMAGE_SCORES = ("image_scores_original.npz", "image_scores_network.npz")


@dataclass(frozen=True)
class LoadedRun:
    """What is known of a run.

    Attributes:
        name: What the user calls it.
        folder: Where it lies.
        scores: The content of `scores.json`; empty if there is none.
        images: What was counted image by image; None: nothing.
        evidence: Predictions as pictures; None: there are none.
        curves: Of its training, or of the run that made its weights; None: none were found.
        settings: The `config.yaml` that goes with the curves; empty: there is none.
    """

    name: str
    folder: Path
    scores: Plain
    images: PerImageConfusion | None
    evidence: LabelErrorData | None
    curves: LoggedCurves | None
    settings: Plain

    @property
    def primary(self) -> str | None:
        """Under which name `scores.json` has the score that the page is about."""
        return next((name for name in saved_scores.PRIMARY if self.scores.get(name)), None)

    @property
    def score(self) -> Plain:
        """That score."""
        return dict(self.scores[self.primary]) if self.primary else {}

    @property
    def protocol(self) -> Protocol | None:
        """How it was taken."""
        if self.score:
            return saved_scores.protocol_from(self.score["protocol"])
        return None if self.images is None else self.images.protocol

    @property
    def calibration(self) -> Calibration | None:
        """Whether probabilities mean what they say."""
        plain = self.scores.get("calibration")
        return saved_scores.calibration_from(plain) if plain else None

    @property
    def comparison(self) -> Comparison | None:
        """Of a run that fine-tuned: before and after."""
        plain = self.scores.get("comparison")
        return saved_scores.comparison_from(plain) if plain else None

    @property
    def matrix(self) -> npt.NDArray[np.int64] | None:
        """Its confusion matrix `[C,C]`."""
        if self.images is not None:
            return self.images.total()
        return np.asarray(self.score["matrix"], np.int64) if "matrix" in self.score else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes."""
        if self.images is not None:
            return self.images.classes
        return tuple(self.score.get("classes", ())) or (self.curves.classes if self.curves else ())


def read_run(name: str, folder: Path) -> LoadedRun:
    """Read a run's folder.

    Args:
        name: What the user calls it.
        folder: Where it lies.

    Raises:
        UserError: If it is no run's folder, or a file in it is damaged.
    """
    _check(folder)
    scores = _scores(folder / SCORES)
    file = next((folder / each for each in IMAGE_SCORES if (folder / each).is_file()), None)
    trained = _trained(folder, scores)
    return LoadedRun(
        name,
        folder,
        scores,
        None if file is None else load_per_image_confusion(file),
        load_evidence(folder),
        None if trained is None else read_curves(trained / CURVES),
        {} if trained is None else _settings(trained / "config.yaml"),
    )


def _check(folder: Path) -> None:
    if not folder.exists():
        raise UserError(f"{folder}: there is no such run; name the folder of a run of `test` or `fit`")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: name the folder of the run that it lies in")
    if not any((folder / name).is_file() for name in (SCORES, CURVES, *IMAGE_SCORES)):
        raise UserError(
            f"{folder} is no run's folder, as it has neither {SCORES} nor {CURVES}: name one such as "
            "lightning_logs/test/version_0"
        )


def _scores(path: Path) -> Plain:
    """The content of `scores.json`."""
    if not path.is_file():
        return {}
    try:
        plain = read_json(path)
        if not isinstance(plain, dict) or not all(isinstance(each, dict | None) for each in plain.values()):
            raise ValueError
        saved_scores.check(plain)
        return plain
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as fault:
        raise UserError(f"{path} is damaged: score the weights again with `test`") from fault


def _trained(folder: Path, scores: Plain) -> Path | None:
    """The folder of the run that trained: this one, or the one whose weights were scored, if it is there."""
    weights = scores.get("weights") or {}
    places = [folder]
    if weights.get("path"):  # its runs may have moved, and both may have moved together
        places += [Path(weights["path"]).parent, (folder / weights["relative"]).parent]
    for place in places:
        if (place / CURVES).is_file() and (place / "config.yaml").is_file():
            return place
    return None


def _settings(path: Path) -> Plain:
    """A run's `config.yaml`; what cannot be read is left out, as the page can do without it."""
    try:
        plain = read_yaml(path, str(path))
    except UserError:
        return {}
    return plain if isinstance(plain, dict) else {}
