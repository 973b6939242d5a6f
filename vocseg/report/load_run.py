"""Scores and curves of a run."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vocseg.constants import INPUT_RESOLUTION, ORIGINAL_RESOLUTION
from vocseg.errors import UserError
from vocseg.metrics.aggregate import ErrorBudget
from vocseg.metrics.bootstrap import ScoreIntervals
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.label_errors import LabelErrorData, load_evidence
from vocseg.metrics.per_image import PerImageConfusion, Protocol, load_per_image_confusion
from vocseg.utils.regular_file import read_json, read_regular
from vocseg.utils.yaml_loader import read_yaml

Plain = Mapping[str, Any]
Points = tuple[tuple[float, float], ...]

SCORES, CURVES = "scores.json", "metrics.csv"
BEFORE, AFTER = "per_image_confusion_before.npz", "per_image_confusion_network.npz"
_IMAGE_SCORES = ("per_image_confusion_original.npz", AFTER)
_PRIMARY = (ORIGINAL_RESOLUTION, INPUT_RESOLUTION, "after")  # the first that exists is the page's main score
_LOGS = "lightning_logs"


@dataclass(frozen=True)
class LoggedCurves:
    """Logged values by epoch, counted from 1."""

    folder: Path  # folder of the run
    series: dict[str, Points]  # points `(epoch, value)` by logged name

    @property
    def classes(self) -> list[str]:
        """The classes with a logged IoU."""
        kind = "per_class_iou/"
        return sorted(name.removeprefix(kind) for name in self.series if name.startswith(kind))

    def at(self, name: str, epoch: float | None) -> float | None:
        """The value of an epoch, or None."""
        return dict(self.series.get(name, ())).get(epoch) if epoch is not None else None

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
        names = [name for name in (rows[0] if rows else {}) if name not in ("epoch", "step")]
        series = {name: _points(rows, name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error!r}). Remove it to report without curves.") from error
    series = {name: points for name, points in series.items() if points}
    return LoggedCurves(path.parent, series) if series else None


def _points(rows: list[dict[str, str]], name: str) -> Points:
    """Points by epoch.

    Several values of an epoch are validations within it, at equal distances. A value at step 0 before others
    of the first epoch is the score before fine-tuning.
    """
    given = [row for row in rows if row[name] and row["epoch"]]
    points: dict[float, float] = {}
    if len(given) > 1 and given[0]["epoch"] == given[1]["epoch"] == "0" and int(given[0]["step"]) == 0:
        points[0.0] = float(given.pop(0)[name])
    within, seen = Counter(row["epoch"] for row in given), Counter[str]()
    for row in given:
        seen[row["epoch"]] += 1
        points[int(row["epoch"]) + seen[row["epoch"]] / within[row["epoch"]]] = float(row[name])
    return tuple(sorted((epoch, value) for epoch, value in points.items() if math.isfinite(value)))


@dataclass(frozen=True)
class LoadedRun:
    """Files of a run."""

    folder: Path
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
        return Protocol(**self.score["protocol"]) if self.score else None

    @property
    def calibration(self) -> Calibration | None:
        """Calibration in `scores.json`, if a pixel is labelled."""
        plain = self.scores.get("calibration")
        known = Calibration.from_dict(plain) if plain else None
        return known if known is not None and known.error is not None else None

    @property
    def classes(self) -> list[str]:
        """Class names."""
        return self.score.get("classes", []) or (self.curves.classes if self.curves else [])


def read_run(folder: Path) -> LoadedRun:
    """Read the folder of a run.

    Raises:
        UserError: If it is not a run, or a file in it is damaged.
    """
    if not any((folder / name).is_file() for name in (SCORES, CURVES)):
        raise UserError(
            f"{folder} is not a run: there is neither {SCORES} nor {CURVES}. Pass a folder such as "
            "lightning_logs/test/version_0."
        )
    scores = _scores(folder / SCORES)
    file = next((folder / each for each in _IMAGE_SCORES if (folder / each).is_file()), None)
    trained = _training_folder(folder, scores)
    return LoadedRun(
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
    trained = read_run(weights.parent) if (weights.parent / CURVES).is_file() else None
    if folder is None:
        return None if trained is None else replace(trained, scores={}, images=None, label_errors=None)
    run = read_run(folder)
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
        for name in (*_PRIMARY, "before"):
            if score := plain.get(name):
                ScoreIntervals.from_dict(score["intervals"])
                Protocol(**score["protocol"])
                ErrorBudget(**score["error_budget"])
        if plain.get("calibration"):
            Calibration.from_dict(plain["calibration"])
        return dict(plain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged. Score the weights again with `test`.") from error


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
