"""The parts of the page: plain values, ready to be laid out."""

from dataclasses import dataclass


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
class Picture:
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
    pictures: tuple[Picture, ...] = ()
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
