"""Several runs of one recipe, taken together, and whether two such groups may be compared."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from vocseg.errors import UserError
from vocseg.scores.image_scores import ImageScores


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


def check_comparable(groups: Sequence[Group]) -> None:
    """Whether all runs were scored on the same images in the same way.

    Raises:
        UserError: If not, with the first thing in which two of them differ.
    """
    first = groups[0].members[0]
    for group in groups:
        for member in group.members:
            found = _difference(first, member)
            if found is not None:
                what, ours, theirs = found
                raise UserError(
                    f"{groups[0].name} and {group.name} cannot be compared, as their {what} differs: {ours} "
                    f"and {theirs}; score both with `test` on the same data with the same flags"
                )


def _difference(a: ImageScores, b: ImageScores) -> tuple[str, str, str] | None:
    """The first thing in which two scores were taken differently: its name and both values."""
    for field in fields(a.protocol):
        ours, theirs = getattr(a.protocol, field.name), getattr(b.protocol, field.name)
        if ours != theirs:
            return field.name, repr(ours), repr(theirs)
    if a.classes != b.classes:
        ours, theirs = next(iter(_unequal(a.classes, b.classes)))
        return "classes", ours, theirs
    if set(a.ids) != set(b.ids):
        ours, theirs = next(iter(_unequal(sorted(a.ids), sorted(b.ids))))
        return "ids", ours, theirs
    return None


def _unequal(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str]]:
    longest = max(len(a), len(b))
    padded = [[*map(repr, k), *["none"] * (longest - len(k))] for k in (a, b)]
    return [pair for pair in zip(*padded, strict=True) if pair[0] != pair[1]]
