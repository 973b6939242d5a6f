"""Groups of runs that differ by their seeds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest

import numpy as np

from vocseg.errors import UserError
from vocseg.metrics.aggregate import Floats
from vocseg.metrics.bootstrap import influence
from vocseg.metrics.per_image import PerImageConfusion

ACROSS = ("size", "tta", "windows")  # protocol fields of the prediction, not of the scored pixels


@dataclass(frozen=True)
class RunGroup:
    """Runs of one recipe that differ by their seeds, or a single run.

    Attributes:
        name: Name in tables and errors.
        members: Scores of each run, of the same images and protocol.
    """

    name: str
    members: tuple[PerImageConfusion, ...]


def check_comparable(groups: Sequence[RunGroup], across: Collection[str] = ()) -> None:
    """Check that all runs have the same images and protocol; groups may differ in the fields `across`.

    Raises:
        UserError: If they differ, with the first difference.
    """
    first = groups[0].members[0]
    for group in groups:
        for member in group.members:
            found = _difference(first, member, across) or _difference(group.members[0], member, ())
            if found is not None:
                what, one, other = found
                raise UserError(
                    f"{groups[0].name} and {group.name} cannot be compared: their {what} differs ({one} and "
                    f"{other}). Score both with `test` on the same data with the same flags"
                    + (f", or pass --allow_different {what}." if what in ACROSS else ".")
                )


def _difference(
    a: PerImageConfusion, b: PerImageConfusion, across: Collection[str]
) -> tuple[str, str, str] | None:
    """The first difference between two scores: its name and both values."""
    for field in fields(a.protocol):
        one, other = getattr(a.protocol, field.name), getattr(b.protocol, field.name)
        if one != other and field.name not in across:
            return field.name, repr(one), repr(other)
    for name, ones, others in (("classes", a.classes, b.classes), ("ids", sorted(a.ids), sorted(b.ids))):
        for pair in zip_longest(map(repr, ones), map(repr, others), fillvalue="none"):
            if pair[0] != pair[1]:
                return name, *pair
    if a.protocol != b.protocol and not np.array_equal(a.matrices.sum((0, 2)), b.matrices.sum((0, 2))):
        return "number of labelled pixels", f"{a.matrices.sum():,}", f"{b.matrices.sum():,}"
    return None


class RunWeights:
    """Weights of the distinct runs in "mean of B less mean of A".

    Runs with equal counts are one run. Runs in both groups cancel: a group differs from itself by exactly 0.

    Attributes:
        runs: The R distinct runs.
        before: Weight of each in A's mean, `[R]`.
        after: Weight of each in B's mean, `[R]`.
        freedom: Number of runs beyond one a group: degrees of freedom of the spread between seeds.
    """

    def __init__(self, before: RunGroup, after: RunGroup) -> None:
        self.runs: list[PerImageConfusion] = []
        rows = [[self._row(member) for member in group.members] for group in (before, after)]
        self.before, self.after = (np.bincount(row, minlength=len(self.runs)) / len(row) for row in rows)
        self._rows = [sorted(set(row)) for row in rows]
        if self._rows[0] == self._rows[1]:
            self._rows.pop()  # or its spread would count twice
        self.freedom = sum(len(row) - 1 for row in self._rows)

    def _row(self, member: PerImageConfusion) -> int:
        for row, known in enumerate(self.runs):
            if known is member or _same_counts(known, member):
                return row
        self.runs.append(member)
        return len(self.runs) - 1

    def difference(self, figures: Floats) -> Floats:
        """B's mean less A's, float64 `[...,S]` from `[...,R,S]`."""
        difference: Floats = np.einsum("...rs,r->...s", figures, self.after - self.before)
        return difference

    def means(self, figures: Floats) -> tuple[Floats, Floats]:
        """A's mean and B's, float64 `[S]` each, from `[R,S]`; NaN where a member's is."""
        before, after = (weight[weight > 0] @ figures[weight > 0] for weight in (self.before, self.after))
        return before, after

    @property
    def spread(self) -> float:
        """Seed variance of the difference, relative to that of a single run; 0 for identical runs."""
        return float(((self.after - self.before) ** 2).sum())

    def seed_variance(self, figures: Floats) -> Floats:
        """Variance between seeds of a single run, float64 `[S]` of metrics `[R,S]`; 0 where unknown."""
        return self._pooled([(figures[row] - figures[row].mean(0)) ** 2 for row in self._rows])

    def chance_variance(self, figures: Floats, without: Floats) -> Floats:
        """The part of `seed_variance` between images; `without`: metrics without each image, `[N,R,S]`."""
        each = []
        for row in self._rows:
            by_image = without[:, row] - without[:, row].mean(1, keepdims=True)
            each.append(influence(figures[row] - figures[row].mean(0), by_image).variance)
        return self._pooled(each)

    def _pooled(self, each: list[Floats]) -> Floats:
        """Sum over groups and runs, divided by the degrees of freedom."""
        total: Floats = np.sum([terms.sum(0) for terms in each], axis=0)
        return np.nan_to_num(total / self.freedom) if self.freedom else np.zeros_like(total)


def _same_counts(a: PerImageConfusion, b: PerImageConfusion) -> bool:
    order = np.argsort(a.ids), np.argsort(b.ids)
    return np.array_equal(a.matrices[order[0]], b.matrices[order[1]])
