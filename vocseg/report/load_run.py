"""Scores and curves of a run."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.constants import CLASSES, INPUT_RESOLUTION, ORIGINAL_RESOLUTION
from vocseg.errors import UserError
from vocseg.metrics.aggregate import ErrorBudget
from vocseg.metrics.bootstrap import ScoreIntervals, number
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.label_errors import LabelErrorData, load_evidence
from vocseg.metrics.paired_test import Comparison
from vocseg.metrics.per_image import PerImageConfusion, Protocol, load_per_image_confusion
from vocseg.utils.regular_file import read_json, read_regular
from vocseg.utils.yaml_loader import read_yaml

Plain = Mapping[str, Any]
Points = tuple[tuple[float, float], ...]

SCORES, CURVES = "scores.json", "metrics.csv"
IMAGE_SCORES = ("per_image_confusion_original.npz", "per_image_confusion_network.npz")
_PRIMARY = (ORIGINAL_RESOLUTION, INPUT_RESOLUTION, "after")  # the first that exists is the page's main score
_CLASS = "per_class_iou/"
_AXES = ("epoch", "step")
_LOGS = "lightning_logs"


@dataclass(frozen=True)
class LoggedCurves:
    """Logged values by epoch, counted from 1."""

    folder: Path  # folder of the run
    series: dict[str, Points]  # points `(epoch, value)` by logged name

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes with a logged IoU, in VOC's order or sorted."""
        names = {name.removeprefix(_CLASS) for name in self.series if name.startswith(_CLASS)}
        return (
            tuple(name for name in CLASSES if name in names) if names <= {*CLASSES} else tuple(sorted(names))
        )

    def at(self, name: str, epoch: float | None) -> float | None:
        """The value of an epoch, or None."""
        return dict(self.series.get(name, ())).get(epoch) if epoch is not None else None

    def last_epoch(self) -> float | None:
        """The last epoch with a validation."""
        points = self.series.get("miou/val", ())
        return points[-1][0] if points else None

    def best_epoch(self) -> float | None:
        """The epoch with the highest validation mIoU."""
        points = self.series.get("miou/val", ())
        return max(points, key=lambda point: point[1])[0] if points else None


def read_curves(path: Path) -> LoggedCurves | None:
    """Read `metrics.csv`; None if it has no values.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        text = read_regular(path)[0].decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if rows and (missing := [axis for axis in _AXES if axis not in rows[0]]):
            raise ValueError(f"it has no column '{missing[0]}'")
        series = {name: _points(rows, name) for name in (rows[0] if rows else {}) if name not in _AXES}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}). Remove it to report without curves.") from error
    series = {name: points for name, points in series.items() if points}
    return LoggedCurves(path.parent, series) if series else None


def _points(rows: list[dict[str, str]], name: str) -> Points:
    """Points by epoch; values without an epoch (learning rates) are placed by their step.

    Several values of an epoch are validations within it, at equal distances. A value at step 0 before others
    of the first epoch is the score before fine-tuning.
    """
    given = [row for row in rows if row[name] not in ("", None)]
    steps = max((_step(row) for row in rows), default=0) + 1
    epochs = max((int(row["epoch"]) for row in rows if row["epoch"]), default=0) + 1
    points: dict[float, float] = {}
    if len(given) > 1 and given[0]["epoch"] == given[1]["epoch"] == "0" and _step(given[0]) == 0:
        points[0.0] = float(given.pop(0)[name])
    within, seen = Counter(row["epoch"] for row in given), Counter[str]()
    for row in given:
        seen[row["epoch"]] += 1
        share = seen[row["epoch"]] / within[row["epoch"]]
        place = int(row["epoch"]) + share if row["epoch"] else epochs * _step(row) / steps
        points[place] = float(row[name])
    return tuple(sorted((place, value) for place, value in points.items() if math.isfinite(value)))


def _step(row: dict[str, str]) -> int:
    return int(row.get("step") or 0)


@dataclass(frozen=True)
class LoadedRun:
    """Files of a run."""

    name: str  # run as on the command line
    folder: Path  # its folder
    scores: Plain  # content of `scores.json`; empty without one
    images: PerImageConfusion | None  # per-image confusion matrices, or None
    label_errors: LabelErrorData | None  # label-error data, or None
    curves: LoggedCurves | None  # curves of the training of the scored weights, or None
    settings: Plain  # the `config.yaml` of that training; empty without one

    @property
    def primary(self) -> str | None:
        """Key of the main score in `scores.json`."""
        return next((name for name in _PRIMARY if self.scores.get(name)), None)

    @property
    def score(self) -> Plain:
        """The main score; empty without one."""
        return dict(self.scores[self.primary]) if self.primary else {}

    @property
    def protocol(self) -> Protocol | None:
        """Protocol of the main score."""
        if self.score:
            return Protocol(**self.score["protocol"])
        return None if self.images is None else self.images.protocol

    @property
    def calibration(self) -> Calibration | None:
        """Calibration in `scores.json`."""
        plain = self.scores.get("calibration")
        return Calibration.from_dict(plain) if plain else None

    @property
    def comparison(self) -> Comparison | None:
        """Comparison before and after fine-tuning in `scores.json`."""
        plain = self.scores.get("comparison")
        return Comparison.from_dict(plain) if plain else None

    @property
    def matrix(self) -> npt.NDArray[np.int64] | None:
        """Confusion matrix `[C,C]`."""
        if self.images is not None:
            return self.images.total()
        return np.asarray(self.score["matrix"], np.int64) if "matrix" in self.score else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        if self.images is not None:
            return self.images.classes
        return tuple(self.score.get("classes", ())) or (self.curves.classes if self.curves else ())


def read_run(name: str, folder: Path) -> LoadedRun:
    """Read the folder of a run; `name` is the run as on the command line.

    Raises:
        UserError: If it is not a run, or a file in it is damaged.
    """
    if not folder.exists():
        raise UserError(f"{folder}: there is no such run. Pass the folder of a run of `test` or `fit`.")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file. Pass the folder of the run.")
    if not any((folder / name).is_file() for name in (SCORES, CURVES, *IMAGE_SCORES)):
        raise UserError(
            f"{folder} is not a run: it has neither {SCORES} nor {CURVES}. Pass a folder such as "
            "lightning_logs/test/version_0."
        )
    scores = _scores(folder / SCORES)
    file = next((folder / each for each in IMAGE_SCORES if (folder / each).is_file()), None)
    trained = _training_folder(folder, scores)
    return LoadedRun(
        name,
        folder,
        scores,
        None if file is None else load_per_image_confusion(file),
        load_evidence(folder),
        None if trained is None else read_curves(trained / CURVES),
        {} if trained is None else _settings(trained / "config.yaml"),
    )


def find_scoring_run(weights: Path, digest: str) -> Path | None:
    """The newest run of `test`, else of `validate`, that scored these parameters.

    It is searched in the `lightning_logs` of the weights and of the working folder.
    """
    parents = (*weights.parents, *weights.absolute().parents, Path(_LOGS))
    logs = {each.resolve(): each for each in reversed(parents) if each.name == _LOGS}
    found = []
    for file in (file for each in logs.values() for file in each.glob(f"*/*/{SCORES}")):
        try:
            scores = read_json(file)
            if _scored(scores) == digest:
                found.append((bool(scores.get(ORIGINAL_RESOLUTION)), file.stat().st_mtime, file.parent))
        except (OSError, ValueError, AttributeError):  # damaged: `report` tells
            continue
    return max(found)[-1] if found else None


def _scored(scores: dict[str, Any]) -> str | None:
    """Digest of the parameters that a run of `test` or `validate` scored."""
    if not scores.get(ORIGINAL_RESOLUTION) and not scores.get(INPUT_RESOLUTION):
        return None
    return (scores.get("weights") or {}).get("parameters")


def read_scored(weights: Path, digest: str, given: Path | None) -> LoadedRun | None:
    """Scores and curves of weights; None if neither a score nor the training is found.

    `given`: folder of the run that scored the parameters of this digest; None: it is searched.

    Raises:
        UserError: If the given run scored other weights, or a file is damaged.
    """
    folder = given or find_scoring_run(weights, digest)
    trained = read_run(str(weights.parent), weights.parent) if (weights.parent / CURVES).is_file() else None
    if folder is None:
        return None if trained is None else replace(trained, scores={}, images=None, label_errors=None)
    run = read_run(str(folder), folder)
    if _scored(dict(run.scores)) != digest:
        raise UserError(
            f"--run {folder}: has no score of these weights by `test` or `validate`. Score them with "
            f"`python -m vocseg test --ckpt_path {weights}`."
        )
    return run if trained is None else replace(run, curves=trained.curves, settings=trained.settings)


def _scores(path: Path) -> Plain:
    """The valid content of `scores.json`."""
    if not path.is_file():
        return {}
    try:
        plain = read_json(path)
        if not isinstance(plain, dict) or not all(isinstance(each, dict | None) for each in plain.values()):
            raise ValueError
        for score in filter(None, (plain.get(name) for name in (*_PRIMARY, "before"))):
            _validate(score)
        if bound := plain.get("ceiling"):
            number(bound["mean_iou"])
        for name, kind in (("calibration", Calibration), ("comparison", Comparison)):
            if plain.get(name):
                kind.from_dict(plain[name])
        return plain
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is damaged. Score the weights again with `test`.") from error


def _validate(score: Plain) -> None:
    classes = [str(name) for name in score["classes"]]
    ErrorBudget.from_dict(score["error_budget"])
    Protocol(**score["protocol"])
    number(score["loss"])
    intervals = ScoreIntervals.from_dict(score["intervals"])
    matrix = np.asarray(score["matrix"], np.int64)
    if [*intervals.class_iou] != classes or matrix.shape != (len(classes), len(classes)):
        raise ValueError


def _training_folder(folder: Path, scores: Plain) -> Path | None:
    """The folder of the run that trained: this one or that of the scored weights, if it exists."""
    weights = scores.get("weights") or {}
    places = [folder]
    if weights.get("path"):  # relative too, as both runs may have moved together
        places += [Path(weights["path"]).parent, (folder / weights["relative"]).parent]
    return next((k for k in places if (k / CURVES).is_file() and (k / "config.yaml").is_file()), None)


def _settings(path: Path) -> Plain:
    """A run's `config.yaml`; empty if it cannot be read, as the page does not need it."""
    try:
        plain = read_yaml(path, str(path))
    except UserError:
        return {}
    return plain if isinstance(plain, dict) else {}
