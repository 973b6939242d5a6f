"""Several runs of one recipe, taken together, and whether two such groups may be compared."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np

from vocseg.errors import UserError
from vocseg.scores.image_scores import ImageScores

ACROSS = ("size", "tta", "windows")  # how a prediction was made, on pixels that stay the same


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ by their seeds, or a single run.

    Attributes:
        name: What the user calls it.
        members: What each run scored, on the same images in the same way.
    """

    name: str
    members: tuple[ImageScores, ...]

    def __post_init__(self) -> None:
        """See that there is a member.

        Raises:
            ValueError: If not.
        """
        if not self.members:
            raise ValueError("a group has at least one member")


def check_comparable(groups: Sequence[Group], across: Collection[str] = ()) -> None:
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
                    + (f", or ask for it with --across {what}" if what in ACROSS else "")
                )


def _difference(a: ImageScores, b: ImageScores, across: Collection[str]) -> tuple[str, str, str] | None:
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
