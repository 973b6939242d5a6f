"""Printed and saved report of an audit."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocseg.constants import IGNORE_INDEX, VOID_SHARE
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.file_record import FileRecord
from vocseg.data.audit.findings import KINDS, Finding, some
from vocseg.data.audit.repair import Repair
from vocseg.data.audit.scan import DatasetScan
from vocseg.data.classes import ClassList
from vocseg.data.fingerprint import MANIFEST, fingerprint
from vocseg.data.voc import Layout
from vocseg.errors import printable


@dataclass(frozen=True)
class Distribution:
    """What a list holds.

    Attributes:
        split: Its name.
        images: How many it names.
        fingerprint: Over ids and decoded content; None while a file of it cannot be decoded.
        pixels: By class, then void: how many pixels of all masks.
        images_with: By class, then void: in how many masks it occurs.
    """

    split: str
    images: int
    fingerprint: str | None
    pixels: tuple[int, ...]
    images_with: tuple[int, ...]

    @property
    def shares(self) -> list[float]:
        """By class, 0..1: the share of the pixels that are not void."""
        known = max(sum(self.pixels[:-1]), 1)
        return [count / known for count in self.pixels[:-1]]


def distribution(each: SplitList, seen: DatasetScan, layout: Layout, classes: ClassList) -> Distribution:
    """Count what the masks of a list hold, and take its fingerprint.

    Args:
        each: The list.
        seen: Its files.
        layout: Where they lie.
        classes: What the values of the masks mean.
    """
    masks = [seen.masks.get(layout.name(layout.mask(id, each.split))) for id in each.ids]
    counts = np.zeros((len(masks), len(classes) + 1), np.int64)
    for row, mask in zip(counts, masks, strict=True):
        if mask is not None and mask.counts is not None:
            row += _by_class(mask.counts, classes)
    return Distribution(
        each.split,
        len(each.ids),
        _fingerprint(each.ids, seen.images, masks),
        tuple(counts.sum(0).tolist()),
        tuple((counts > 0).sum(0).tolist()),
    )


def _by_class(counts: npt.NDArray[np.int64], classes: ClassList) -> npt.NDArray[np.int64]:
    """Values to classes, with void behind them; values that mean nothing are in neither."""
    known = np.where(classes.known, counts, 0)
    sums = np.bincount(classes.table, weights=known, minlength=IGNORE_INDEX + 1).astype(np.int64)
    return np.concatenate([sums[: len(classes)], sums[IGNORE_INDEX:]])


def _fingerprint(
    ids: Sequence[str], images: Mapping[str, FileRecord], masks: Sequence[FileRecord | None]
) -> str | None:
    pixels = []
    for id, mask in zip(ids, masks, strict=True):
        image = images.get(id)
        if image is None or image.content is None or mask is None or mask.content is None:
            return None
        pixels.append((image.content.pixels, mask.content.pixels))
    return fingerprint(ids, pixels) if pixels else None


def examine_classes(each: SplitList, found: Distribution, classes: ClassList) -> list[Finding]:
    """What is wrong with the classes that the masks of a list show.

    Args:
        each: The list.
        found: What it holds.
        classes: What the values of the masks mean.
    """
    void, counts = found.pixels[-1], found.pixels[:-1]
    if not sum(found.pixels):
        return []
    absent = [f"'{name}'" for name, number in zip(classes.names, counts, strict=True) if not number]
    if not any(counts[1:]):
        value = f"if {IGNORE_INDEX} means a class, use --data.mask_values '[0, {IGNORE_INDEX}]'"
        other = "name other masks with --data.mask_folder, or other classes with --data.classes"
        alone = f"{classes.names[0]}{' and void' if void else ''} alone"
        text = f"its masks show {alone}: {value if void else other}"
        return [Finding(each.file, "list-one-class", text)]
    findings = []
    if absent:
        text = f"no mask shows {some(absent)}: correct the list with --data.classes, if that is not meant"
        findings.append(Finding(each.file, "list-absent-class", text))
    if void > VOID_SHARE * sum(found.pixels):
        text = (
            f"{void / sum(found.pixels):.0%} of the pixels are void ({IGNORE_INDEX}): if that is a class, "
            "give it its value with --data.mask_values"
        )
        findings.append(Finding(each.file, "list-void", text))
    return findings


_FORMAT = 1  # of the JSON file; raised when a key changes its meaning or goes


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        files: How many files were read.
        unlisted_images: How many images no list names; in VOC most, which have no mask.
        findings: By file.
        lists: Every list that names images.
        classes: What the masks' values mean.
    """

    files: int
    unlisted_images: int
    findings: tuple[Finding, ...]
    lists: tuple[Distribution, ...]
    classes: ClassList

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that should be put right."""
        return tuple(finding for finding in self.findings if finding.level == "fault")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that harm nothing."""
        return tuple(finding for finding in self.findings if finding.level == "note")

    @property
    def exit_code(self) -> int:
        """1 if there are faults, as with a linter."""
        return 1 if self.faults else 0

    def to_json(self) -> str:
        """The report: the same text for the same data, wherever and whenever it was examined."""
        return json.dumps(self._plain(), indent=1, ensure_ascii=False) + "\n"

    def _plain(self) -> dict[str, Any]:
        names = [*self.classes.names, "void"]
        return {
            "format": _FORMAT,
            "files": self.files,
            "unlisted_images": self.unlisted_images,
            "faults": len(self.faults),
            "notes": len(self.notes),
            "lists": {
                printable(each.split): {
                    "images": each.images,
                    "fingerprint": each.fingerprint,
                    "pixels": dict(zip(names, each.pixels, strict=True)),
                    "images_with": dict(zip(names, each.images_with, strict=True)),
                }
                for each in self.lists
            },
            "findings": [
                {
                    "file": printable(f.file),
                    "kind": f.kind,
                    "level": f.level,
                    "means": KINDS[f.kind],
                    "text": printable(f.text),
                }
                for f in self.findings
            ],
        }


_SHOWN = 5  # findings of one kind; the report has them all
_BAR = 16  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉"


def audit_tables(audit: Audit) -> Group:
    """Lists with fingerprints, the class distribution, and the findings if there are any."""
    parts: list[RenderableType] = [_lists(audit.lists), _classes(audit)] if audit.lists else []
    if audit.findings:
        parts.append(_findings(audit.findings))
    return Group(*parts)


def _lists(lists: Sequence[Distribution]) -> Table:
    table = Table(title="lists", title_justify="left")
    table.add_column("list")
    table.add_column("images", justify="right")
    table.add_column("fingerprint (ids and decoded content)")
    for each in lists:
        table.add_row(
            Text(printable(each.split)),
            f"{each.images:,}",
            each.fingerprint or "none: a file is missing or cannot be read",
        )
    return table


def _classes(audit: Audit) -> Table:
    """Share of pixels and number of images by class, but for trainval, which repeats two other lists."""
    shown = [each for each in audit.lists if not each.split.startswith("trainval")][:3]
    table = Table(title="classes: share of the pixels that are not void, and images", title_justify="left")
    table.add_column("class", no_wrap=True)
    for each in shown:
        table.add_column(Text(f"{printable(each.split)} %"), justify="right")
        table.add_column("images", justify="right")
    table.add_column(Text(f"{printable(shown[0].split)}, background aside" if shown else ""), no_wrap=True)
    most = max(shown[0].shares[1:], default=0.0) if shown else 0.0
    for k, name in enumerate(audit.classes.names):
        cells = [cell for each in shown for cell in _cells(100 * each.shares[k], each.images_with[k])]
        table.add_row(Text(name), *cells, _bar(shown[0].shares[k], most) if k and shown else "")
    table.add_section()
    table.add_row("void", *[cell for each in shown for cell in _void_cells(each)], "", style="dim")
    return table


def _cells(percent: float, images: int) -> tuple[str, str]:
    return (f"{percent:.2f}", f"{images:,}") if images else ("-", "-")


def _void_cells(each: Distribution) -> tuple[str, str]:
    """Void's share is one of all pixels: the others leave it out."""
    return _cells(100 * each.pixels[-1] / max(sum(each.pixels), 1), each.images_with[-1])


def _bar(share: float, most: float) -> str:
    eighths = round(8 * _BAR * share / most) if most else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table(title="findings", title_justify="left", show_lines=False)
    table.add_column("file", overflow="fold", ratio=2)
    table.add_column("what is wrong", overflow="fold", ratio=3)
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for finding in sorted(findings, key=lambda finding: (finding.level, list(KINDS).index(finding.kind))):
        kinds[finding.kind].append(finding)
    for kind, found in kinds.items():
        colour = "yellow" if found[0].level == "note" else "red"
        table.add_section()
        table.add_row(
            Text(f"{kind} ({len(found):,})", style=f"bold {colour}"), Text(KINDS[kind], style="bold")
        )
        for finding in found[:_SHOWN]:
            table.add_row(Text(printable(finding.file)), Text(printable(finding.text)))
        if len(found) > _SHOWN:
            table.add_row(
                Text(f"and {len(found) - _SHOWN:,} more", style="dim"), Text("see the report", style="dim")
            )
    return table


def print_summary(result: Audit, layout: Layout, cache: Path, report: Path) -> None:
    """Print the tables, where the rest is, and in the last line how many faults there are.

    Args:
        result: What was found.
        layout: Where the data lie.
        cache: Where the manifest was written.
        report: What was written for programs.
    """
    from rich.console import Console

    console = Console()
    console.print(audit_tables(result))
    spare = f"; {result.unlisted_images:,} images are in no list" if result.unlisted_images else ""
    print(f"{layout.folder}: {result.files:,} files read{spare}")
    print(f"report: {report}; manifest: {cache / MANIFEST}")
    faults, notes = len(result.faults), len(result.notes)
    files = len({finding.file for finding in result.faults})
    said = f"{_count(faults, 'fault')} in {_count(files, 'file')}" if faults else "no fault"
    print(said + (f", {_count(notes, 'note')}" if notes else ""))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def tell_repair(repaired: Repair, out: Path) -> None:
    """Print which masks were not repaired, and how many were.

    Args:
        repaired: What was done.
        out: Where the copy is.
    """
    for name, why in repaired.refused.items():
        print(f"not repaired: {name}: {why}")
    done, left = len(repaired.converted), len(repaired.refused)
    if done:
        print(f"wrote {out} with {_count(done, 'mask')} converted exactly, {left:,} refused")
    else:
        print(f"no mask could be repaired ({left:,} refused): {out} was not written")
