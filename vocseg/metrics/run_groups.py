"""Runs of several seeds as one group."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np

from vocseg.errors import UserError
from vocseg.metrics.aggregate import Floats
from vocseg.metrics.bootstrap import influence
from vocseg.metrics.per_image import PerImageConfusion

ACROSS = ("size", "tta", "windows")  # how a prediction was made, on pixels that stay the same


@dataclass(frozen=True)
class RunGroup:
    """Runs of one recipe that differ by their seeds, or a single run.

    Attributes:
        name: What the user calls it.
        members: What each run scored, on the same images in the same way.
    """

    name: str
    members: tuple[PerImageConfusion, ...]

    def __post_init__(self) -> None:
        """See that there is a member.

        Raises:
            ValueError: If not.
        """
        if not self.members:
            raise ValueError("a group has at least one member")


def check_comparable(groups: Sequence[RunGroup], across: Collection[str] = ()) -> None:
    """Whether all runs were scored on the same images in the same way.

    Args:
        groups: What is to be compared; the members of one must agree in everything.
        across: Parts of the protocol in which one group may differ from another.

    Raises:
        UserError: If not, with the first thing in which two of them differ.
    """
    first = groups[0].members[0]
    for group in groups:
        for member in group.members:
            found = _difference(first, member, across) or _difference(group.members[0], member, ())
            if found is not None:
                what, ours, theirs = found
                raise UserError(
                    f"{groups[0].name} and {group.name} cannot be compared, as their {what} differs: {ours} "
                    f"and {theirs}; score both with `test` on the same data with the same flags"
                    + (f", or ask for it with --allow_different {what}" if what in ACROSS else "")
                )


def _difference(
    a: PerImageConfusion, b: PerImageConfusion, across: Collection[str]
) -> tuple[str, str, str] | None:
    """The first thing in which two scores were taken differently: its name and both values."""
    for field in fields(a.protocol):
        ours, theirs = getattr(a.protocol, field.name), getattr(b.protocol, field.name)
        if ours != theirs and field.name not in across:
            return field.name, repr(ours), repr(theirs)
    if a.classes != b.classes:
        ours, theirs = next(iter(_unequal(a.classes, b.classes)))
        return "classes", ours, theirs
    if set(a.ids) != set(b.ids):
        ours, theirs = next(iter(_unequal(sorted(a.ids), sorted(b.ids))))
        return "ids", ours, theirs
    if a.protocol != b.protocol and not np.array_equal(a.matrices.sum((0, 2)), b.matrices.sum((0, 2))):
        return "number of labelled pixels", f"{a.matrices.sum():,}", f"{b.matrices.sum():,}"
    return None


def _unequal(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str]]:
    longest = max(len(a), len(b))
    padded = [[*map(repr, k), *["none"] * (longest - len(k))] for k in (a, b)]
    return [pair for pair in zip(*padded, strict=True) if pair[0] != pair[1]]


class RunWeights:
    """How much each different run counts in "mean of B less mean of A".

    Runs are told apart by what they counted. What one counts in both groups cancels: of
    a group and itself nothing is left.

    Attributes:
        runs: The different ones.
        before: Share of each in A's mean, `[R]`.
        after: Share of each in B's mean, `[R]`.
        freedom: How many runs there are beyond one a group: what the spread from seed to seed is known from.
    """

    def __init__(self, before: RunGroup, after: RunGroup) -> None:
        """Find the different runs.

        Args:
            before: A.
            after: B.
        """
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
        """B's mean less A's: float64 `[...,S]` from `[...,R,S]`; exactly 0 of a group and itself."""
        difference: Floats = np.einsum("...rs,r->...s", figures, self.after - self.before)
        return difference

    def means(self, figures: Floats) -> tuple[Floats, Floats]:
        """A's mean and B's, float64 `[S]` each, from `[R,S]`; NaN where a member has no such figure."""
        before, after = (share[share > 0] @ figures[share > 0] for share in (self.before, self.after))
        return before, after

    @property
    def spread(self) -> float:
        """Variance of the difference for one of a single run, as seeds differ; 0 of the same runs."""
        return float(((self.after - self.before) ** 2).sum())

    def seed_variance(self, figures: Floats) -> Floats:
        """Variance of a single run on these images because of its seed; 0 if it is not known.

        The spread is taken as the same in both groups. A figure that a run does not have gives no spread.

        Args:
            figures: Of each run on all images, float64 `[R,S]`.

        Returns:
            float64 `[S]`.
        """
        return self._pooled([(figures[row] - figures[row].mean(0)) ** 2 for row in self._rows])

    def chance_variance(self, figures: Floats, without: Floats) -> Floats:
        """The part of `seed_variance` that comes of runs differing on one image so and on the next otherwise.

        Drawing images shows this part too.

        Args:
            figures: Of each run on all images, float64 `[R,S]`.
            without: The same without each image, float64 `[N,R,S]`.

        Returns:
            float64 `[S]`.
        """
        each = []
        for row in self._rows:
            by_image = without[:, row] - without[:, row].mean(1, keepdims=True)
            each.append(influence(figures[row] - figures[row].mean(0), by_image).variance)
        return self._pooled(each)

    def _pooled(self, each: list[Floats]) -> Floats:
        """Sum over groups and their runs, by the degrees of freedom."""
        total: Floats = np.sum([terms.sum(0) for terms in each], axis=0)
        return np.nan_to_num(total / self.freedom) if self.freedom else np.zeros_like(total)


def _same_counts(a: PerImageConfusion, b: PerImageConfusion) -> bool:
    """Whether the images were predicted alike, in whatever order they stand."""
    order = np.argsort(a.ids), np.argsort(b.ids)
    return np.array_equal(a.matrices[order[0]], b.matrices[order[1]])
