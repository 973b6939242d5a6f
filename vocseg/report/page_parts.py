"""Data of the page's parts."""

from dataclasses import dataclass

from vocseg.metrics.bootstrap import Interval
from vocseg.metrics.paired_test import Difference
from vocseg.metrics.protocol import Protocol
from vocseg.report.charts import Chart
from vocseg.report.reliability_diagram import Reliability
from vocseg.visualization.confusion import MatrixView


@dataclass(frozen=True)
class Figure:
    """A metric from 0 to 1 with its interval and an explanation."""

    name: str
    interval: Interval
    note: str = ""


@dataclass(frozen=True)
class ClassBar:
    """IoU of a class; `images`: number of images that contain it, None if unknown."""

    name: str
    colour: str
    interval: Interval
    images: int | None = None


@dataclass(frozen=True)
class BudgetPart:
    """A part of 1 - mean IoU; `kind` selects its colour."""

    kind: str
    name: str
    explanation: str
    lost: float


@dataclass(frozen=True)
class PageImage:
    """An image of a card as a data URI, with its original size."""

    title: str
    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Chip:
    """A class in an image; `where`: empty, `false negative` or `false positive`."""

    name: str
    colour: str
    where: str


@dataclass(frozen=True)
class Card:
    """An image with its metrics."""

    id: str
    headline: str
    facts: tuple[str, ...]
    pictures: tuple[PageImage, ...] = ()
    chips: tuple[Chip, ...] = ()
    more: int = 0  # classes without a chip
    box: tuple[float, float, float, float] | None = None  # left, top, width, height in per cent


@dataclass(frozen=True)
class Gallery:
    """Cards under a title."""

    title: str
    explanation: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Note:
    """A missing part with the remedy, and a command to type."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class RunView:
    """All sections of a run; `key`: prefix of their anchors, `letter`: short name in a comparison."""

    key: str
    letter: str
    name: str
    kind: str
    main: Figure
    figures: tuple[Figure, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]
    warning: str
    bars: tuple[ClassBar, ...]
    bars_note: str
    matrix: MatrixView | None
    budget: tuple[BudgetPart, ...]
    galleries: tuple[Gallery, ...]
    label_errors: Gallery | None
    charts: tuple[Chart, ...]
    charts_note: str
    reliability: Reliability | None
    changes: "ComparisonView | None"

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """Suffixes of the anchors and titles of the sections with content."""
        content = {
            ("changes", "Fine-tuning"): self.changes,
            ("classes", "Classes"): self.bars,
            ("budget", "Errors"): self.budget,
            ("calibration", "Calibration"): self.reliability,
            ("confusion", "Confusion"): self.matrix,
            ("images", "Images"): self.galleries,
            ("label-errors", "Label errors"): self.label_errors,
            ("curves", "Curves"): self.charts,
        }
        return tuple(section for section, there in content.items() if there)


@dataclass(frozen=True)
class ComparisonView:
    """Comparison of a run with another; `key` is the anchor of its section."""

    key: str
    letters: tuple[str, str]  # short names
    where: str
    names: tuple[str, ...]  # empty if equal to the short names
    protocols: tuple[Protocol, ...]  # one if both are equal
    verdict: str
    caption: str
    measures: dict[str, Difference]
    classes: dict[str, Difference]
    reach: float  # largest end of a class's interval, the limit of the axis
    gallery: Gallery | None


@dataclass(frozen=True)
class PageView:
    """The page; `lacking`: reasons for missing comparisons, `errors`: colour, name, meaning."""

    title: str
    runs: tuple[RunView, ...]
    comparisons: tuple[ComparisonView, ...]
    lacking: tuple[str, ...]
    made: str
    errors: tuple[tuple[str, str, str], ...]
