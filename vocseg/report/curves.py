"""A run's curves, from its `metrics.csv`."""

import csv
import io
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vocseg.errors import UserError
from vocseg.plain_files import read_plain
from vocseg.voc import CLASSES

Points = tuple[tuple[float, float], ...]

_CLASS = "per_class_iou/"


@dataclass(frozen=True)
class Curves:
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


def read_curves(path: Path) -> Curves | None:
    """Read them; None if nothing is in there yet.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        text = read_plain(path)[0].decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if rows and (lacking := [axis for axis in _AXES if axis not in rows[0]]):
            raise ValueError(f"it has no column '{lacking[0]}'")
        series = {name: _points(rows, name) for name in (rows[0] if rows else {}) if name not in _AXES}
    except (OSError, ValueError, TypeError, csv.Error) as fault:
        raise UserError(
            f"{path} is damaged ({fault}): remove it, and the report goes without curves"
        ) from fault
    series = {name: points for name, points in series.items() if points}
    return Curves(path.parent, series) if series else None


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
