"""Printed and saved report of an audit."""

import json
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vocseg.constants import IGNORE_INDEX
from vocseg.data.audit.findings import KINDS, DatasetScan, Finding
from vocseg.data.classes import ClassList
from vocseg.data.fingerprint import MANIFEST, fingerprint
from vocseg.data.label_check import check_labels
from vocseg.data.splits import Split
from vocseg.data.voc import Layout, split_list
from vocseg.errors import UserError, printable


@dataclass(frozen=True)
class Distribution:
    """Classes and fingerprint of a split.

    Attributes:
        split: Name of the split.
        images: Number of images.
        fingerprint: Hash of ids and decoded content; None: a file cannot be decoded.
        pixels: Number of pixels of each class, then of 255.
        images_with: Number of masks with each class, then with 255.
    """

    split: str
    images: int
    fingerprint: str | None
    pixels: tuple[int, ...]
    images_with: tuple[int, ...]

    @property
    def shares(self) -> list[float]:
        """Fraction of the labelled pixels by class, 0..1."""
        known = max(sum(self.pixels[:-1]), 1)
        return [count / known for count in self.pixels[:-1]]


def distribution(split: Split, scan: DatasetScan) -> Distribution:
    """Count the classes in the masks of a split, and compute its fingerprint."""
    classes = split.classes
    rows, digests = list[np.ndarray[Any, Any]](), list[tuple[str, str]]()
    for image, mask in scan.pairs(split):
        if mask is not None and mask.counts is not None:
            sums = np.bincount(classes.table, weights=mask.counts, minlength=IGNORE_INDEX + 1)
            rows.append(sums[[*range(len(classes)), IGNORE_INDEX]].astype(np.int64))
        if image is not None and image.content and mask is not None and mask.content:
            digests.append((image.content.pixels, mask.content.pixels))
    counts = np.stack(rows) if rows else np.zeros((0, len(classes) + 1), np.int64)
    return Distribution(
        split.name,
        len(split),
        fingerprint(split.ids, digests) if len(digests) == len(split) else None,
        tuple(counts.sum(0).tolist()),
        tuple((counts > 0).sum(0).tolist()),
    )


def check_classes(split: Split, cache: Path) -> list[Finding]:
    """Check the classes in the masks of a split, as training does."""
    file = split.layout.name(split_list(split.layout.folder, split.name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_labels(split, cache, training=True)
        except UserError as error:
            return [Finding(file, "list-one-class", error.sentence)]
    return [Finding(file, "list-classes", str(each.message).removeprefix("vocseg: ")) for each in caught]


_FORMAT = 1  # of the JSON file; increased when a key changes its meaning or is removed


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        files: Number of files read.
        findings: All findings, sorted by file.
        lists: Every split with images.
        classes: Classes of the masks.
    """

    files: int
    findings: tuple[Finding, ...]
    lists: tuple[Distribution, ...]
    classes: ClassList

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings to correct."""
        return tuple(finding for finding in self.findings if finding.level == "fault")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Harmless findings."""
        return tuple(finding for finding in self.findings if finding.level == "note")

    @property
    def exit_code(self) -> int:
        """1 if there are faults, else 0."""
        return 1 if self.faults else 0

    def to_json(self) -> str:
        """Return the report; it depends on the data only, not on time or path."""
        names = [*self.classes.names, "void"]
        lists = {
            printable(each.split): {
                "images": each.images,
                "fingerprint": each.fingerprint,
                "pixels": dict(zip(names, each.pixels, strict=True)),
                "images_with": dict(zip(names, each.images_with, strict=True)),
            }
            for each in self.lists
        }
        content = {
            "format": _FORMAT,
            "files": self.files,
            "faults": len(self.faults),
            "notes": len(self.notes),
            "lists": lists,
            "findings": [
                {name: printable(text) for name, text in (asdict(each) | {"level": each.level}).items()}
                for each in self.findings
            ],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


_SHOWN = 5  # findings of one kind; the report has all


def _split_table(lists: Sequence[Distribution]) -> Table:
    table = Table("split", "images", "fingerprint (ids, content)", title="splits", title_justify="left")
    table.columns[1].justify = "right"
    for each in lists:
        fingerprint = each.fingerprint or "none: a file is missing or corrupt"
        table.add_row(Text(printable(each.split)), f"{each.images:,}", fingerprint)
    return table


def _class_table(audit: Audit) -> Table:
    """Percentage of pixels and number of images by class, without trainval, the union of two others."""
    shown = [each for each in audit.lists if not each.split.startswith("trainval")][:3]
    table = Table(title="classes: % of labelled pixels, and images", title_justify="left")
    table.add_column("class", no_wrap=True)
    for each in shown:
        table.add_column(Text(f"{printable(each.split)} %"), justify="right")
        table.add_column("images", justify="right")
    for k, name in enumerate(audit.classes.names):
        table.add_row(Text(name), *_cells([(each.shares[k], each.images_with[k]) for each in shown]))
    table.add_section()
    ignored = [(each.pixels[-1] / max(sum(each.pixels), 1), each.images_with[-1]) for each in shown]
    table.add_row("ignored (% of all)", *_cells(ignored), style="dim")
    return table


def _cells(values: Sequence[tuple[float, int]]) -> list[str]:
    cells = ((f"{100 * share:.2f}", f"{images:,}") if images else ("-", "-") for share, images in values)
    return [cell for pair in cells for cell in pair]


def _finding_table(findings: Sequence[Finding]) -> Table:
    table = Table(title="findings", title_justify="left")
    table.add_column("file", overflow="fold", ratio=2)
    table.add_column("finding", overflow="fold", ratio=3)
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for finding in sorted(findings, key=lambda finding: (finding.level, list(KINDS).index(finding.kind))):
        kinds[finding.kind].append(finding)
    for kind, found in kinds.items():
        colour = "yellow" if found[0].level == "note" else "red"
        table.add_section()
        title = Text(f"{kind} ({len(found):,})", style=f"bold {colour}")
        table.add_row(title, Text(KINDS[kind], style="bold"))
        for finding in found[:_SHOWN]:
            table.add_row(Text(printable(finding.file)), Text(printable(finding.text)))
        if len(found) > _SHOWN:
            table.add_row(f"and {len(found) - _SHOWN:,} more", "see the report", style="dim")
    return table


def print_summary(result: Audit, layout: Layout, cache: Path, report: Path) -> None:
    """Print the tables, the written files and the number of faults."""
    console = Console()
    if result.lists:
        console.print(_split_table(result.lists), _class_table(result))
    if result.findings:
        console.print(_finding_table(result.findings))
    print(f"{layout.folder}: {result.files:,} files read")
    print(f"report: {report}; manifest: {cache / MANIFEST}")
    faults, notes = len(result.faults), len(result.notes)
    files = len({finding.file for finding in result.faults})
    summary = f"{_count(faults, 'fault')} in {_count(files, 'file')}" if faults else "no fault"
    summary += f", {_count(notes, 'note')}" if notes else ""
    console.print(summary, style="bold red" if faults else "bold green")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
