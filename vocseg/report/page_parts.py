"""Parts of the page and its contents."""

from dataclasses import dataclass

from vocseg.report.charts import Chart
from vocseg.report.reliability_diagram import Reliability
from vocseg.visualization.confusion import MatrixView


@dataclass(frozen=True)
class Figure:
    """A score, from 0 to 1, with its interval; `note` says what it is."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ClassBar:
    """A class's IoU with its interval; `images`: in how many it truly is, None if that is not known."""

    index: int
    name: str
    colour: str
    value: float | None
    low: float | None = None
    high: float | None = None
    images: int | None = None


@dataclass(frozen=True)
class BudgetPart:
    """A part of what is missing from a mean IoU of 1; `kind` chooses its colour."""

    kind: str
    name: str
    explanation: str
    lost: float


@dataclass(frozen=True)
class PageImage:
    """One picture of a card: a data URI, its title, what it shows in words."""

    title: str
    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Chip:
    """A class in a picture: its colour, and whether truth, prediction or both show it."""

    name: str
    colour: str
    where: str


@dataclass(frozen=True)
class Card:
    """An image with what is to be said of it.

    Attributes:
        id: Of the image.
        headline: The figure by which it was chosen.
        facts: Further lines.
        pictures: Empty if they could not be had.
        chips: Classes in it, the largest first.
        more: How many smaller ones there are.
        box: Left, top, width, height of a region to look at, in per cent of the picture.
    """

    id: str
    headline: str
    facts: tuple[str, ...]
    pictures: tuple[PageImage, ...] = ()
    chips: tuple[Chip, ...] = ()
    more: int = 0
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Gallery:
    """Cards that belong together."""

    key: str
    title: str
    explanation: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class RunView:
    """Everything about one run.

    Attributes:
        key: Begins the anchors of its sections.
        letter: What a comparison calls it; empty if there is none.
        name: What the user calls it.
        kind: What was scored, in words.
        main: Mean IoU.
        warning: Reason not to trust its interval, a sentence.
        figures: The other scores.
        facts: How it was scored, by what, as pairs of name and value.
        notes: What is missing, and how to have it.
        budget: Parts that add up to 1 - mean IoU.
        reliability: Whether it is as sure as it may be.
        changes: What fine-tuning changed.
    """

    key: str
    letter: str
    name: str
    kind: str
    main: Figure | None
    figures: tuple[Figure, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    warning: str = ""
    bars: tuple[ClassBar, ...] = ()
    bars_note: str = ""
    matrix: MatrixView | None = None
    budget: tuple[BudgetPart, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    suspects: Gallery | None = None
    suspects_note: str = ""
    charts: tuple[Chart, ...] = ()
    charts_note: str = ""
    reliability: Reliability | None = None
    changes: "ComparisonView | None" = None

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """Ends of the anchors and titles of the sections that there are."""
        there = {
            ("changes", "Fine-tuning"): self.changes,
            ("classes", "Classes"): self.bars,
            ("budget", "Errors"): self.budget,
            ("calibration", "Certainty"): self.reliability,
            ("confusion", "Confusion"): self.matrix,
            ("images", "Images"): self.galleries,
            ("suspects", "Labels"): self.suspects,
            ("curves", "Curves"): self.charts,
        }
        return tuple(section for section, content in there.items() if content)


@dataclass(frozen=True)
class DifferenceRow:
    """One figure of A and of another run."""

    name: str
    before: float | None
    after: float | None
    change: float | None
    low: float | None
    high: float | None
    better: float | None
    clear: bool


@dataclass(frozen=True)
class ComparisonView:
    """One against another.

    Attributes:
        key: The section's anchor.
        letters: What they are called.
        where: On what, in words.
        names: What the user calls them; empty: the same.
        protocols: How they were scored; one, if in the same way.
        reach: The largest end of a class's interval, for a common axis.
    """

    key: str
    letters: tuple[str, str]
    where: str
    names: tuple[str, ...]
    protocols: tuple[str, ...]
    verdict: str
    caption: str
    measures: tuple[DifferenceRow, ...]
    classes: tuple[DifferenceRow, ...]
    reach: float
    gallery: Gallery | None = None


@dataclass(frozen=True)
class PageView:
    """The page; `lacking` says why runs are not compared."""

    title: str
    runs: tuple[RunView, ...]
    comparisons: tuple[ComparisonView, ...] = ()
    lacking: tuple[str, ...] = ()
    made: str = ""
    errors: tuple[tuple[str, str, str], ...] = ()  # colour, name, meaning
