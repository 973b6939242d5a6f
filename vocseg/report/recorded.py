"""What a run's folder holds, read without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.duplicates import read_yaml
from vocseg.errors import UserError
from vocseg.plain_files import read_json
from vocseg.report import kept
from vocseg.report.curves import Curves, read_curves
from vocseg.scores.comparison import Comparison
from vocseg.scores.evidence import Evidence, load_evidence
from vocseg.scores.image_scores import ImageScores, load_image_scores
from vocseg.scores.protocol import Protocol
from vocseg.views.report.reliability import Calibration

Plain = Mapping[str, Any]

SCORES, CURVES = "scores.json", "metrics.csv"
IMAGE_SCORES = ("image_scores_original.npz", "image_scores_network.npz")


@dataclass(frozen=True)
class RecordedRun:
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
    images: ImageScores | None
    evidence: Evidence | None
    curves: Curves | None
    settings: Plain

    @property
    def primary(self) -> str | None:
        """Under which name `scores.json` has the score that the page is about."""
        return next((name for name in kept.PRIMARY if self.scores.get(name)), None)

    @property
    def score(self) -> Plain:
        """That score."""
        return dict(self.scores[self.primary]) if self.primary else {}

    @property
    def protocol(self) -> Protocol | None:
        """How it was taken."""
        if self.score:
            return kept.protocol_from(self.score["protocol"])
        return None if self.images is None else self.images.protocol

    @property
    def calibration(self) -> Calibration | None:
        """Whether probabilities mean what they say."""
        plain = self.scores.get("calibration")
        return kept.calibration_from(plain) if plain else None

    @property
    def comparison(self) -> Comparison | None:
        """Of a run that fine-tuned: before and after."""
        plain = self.scores.get("comparison")
        return kept.comparison_from(plain) if plain else None

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


def read_run(name: str, folder: Path) -> RecordedRun:
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
    return RecordedRun(
        name,
        folder,
        scores,
        None if file is None else load_image_scores(file),
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
        kept.check(plain)
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
