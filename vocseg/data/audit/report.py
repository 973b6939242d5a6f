"""Printed and saved report of an audit."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vocseg.constants import IGNORE_INDEX, VOID_SHARE
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.findings import KINDS, DatasetScan, FileRecord, Finding
from vocseg.data.audit.repair import Repair
from vocseg.data.classes import ClassList
from vocseg.data.fingerprint import MANIFEST, fingerprint
from vocseg.data.voc import Layout
from vocseg.errors import printable, some


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


def distribution(each: SplitList, seen: DatasetScan, layout: Layout, classes: ClassList) -> Distribution:
    """Count the classes in the masks of a split, and compute its fingerprint."""
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
    """Pixels by class, then of 255; unknown values are not counted."""
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
    """Check the classes in the masks of a split."""
    void, counts = found.pixels[-1], found.pixels[:-1]
    if not sum(found.pixels):
        return []
    absent = [f"'{name}'" for name, number in zip(classes.names, counts, strict=True) if not number]
    if not any(counts[1:]):
        value = f"if {IGNORE_INDEX} is a class, pass --data.mask_values '[0, {IGNORE_INDEX}]'"
        other = "pass other masks with --data.mask_folder, or other classes with --data.classes"
        alone = f"{classes.names[0]}{' and 255' if void else ''} only"
        text = f"its masks contain {alone}: {value if void else other}"
        return [Finding(each.file, "list-one-class", text)]
    findings = []
    if absent:
        text = f"no mask contains {some(absent)}: if not intended, correct the class list with --data.classes"
        findings.append(Finding(each.file, "list-absent-class", text))
    if void > VOID_SHARE * sum(found.pixels):
        text = (
            f"{void / sum(found.pixels):.0%} of the pixels are ignored ({IGNORE_INDEX}): if that is a class, "
            "pass its value with --data.mask_values"
        )
        findings.append(Finding(each.file, "list-void", text))
    return findings


_FORMAT = 1  # of the JSON file; increased when a key changes its meaning or is removed


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        files: Number of files read.
        unlisted_images: Number of images in no split; most of VOC's, which have no mask.
        findings: All findings, sorted by file.
        lists: Every split with images.
        classes: Classes of the masks.
    """

    files: int
    unlisted_images: int
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
        keys = ("file", "kind", "level", "means", "text")
        content = {
            "format": _FORMAT,
            "files": self.files,
            "unlisted_images": self.unlisted_images,
            "faults": len(self.faults),
            "notes": len(self.notes),
            "lists": lists,
            "findings": [
                dict(zip(keys, map(printable, (f.file, f.kind, f.level, KINDS[f.kind], f.text)), strict=True))
                for f in self.findings
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
    spare = f"; {result.unlisted_images:,} images are in no split" if result.unlisted_images else ""
    print(f"{layout.folder}: {result.files:,} files read{spare}")
    print(f"report: {report}; manifest: {cache / MANIFEST}")
    faults, notes = len(result.faults), len(result.notes)
    files = len({finding.file for finding in result.faults})
    summary = f"{_count(faults, 'fault')} in {_count(files, 'file')}" if faults else "no fault"
    summary += f", {_count(notes, 'note')}" if notes else ""
    console.print(summary, style="bold red" if faults else "bold green")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def print_repair(repaired: Repair, out: Path) -> None:
    """Print the numbers of masks that were and were not converted, and the reasons."""
    for name, why in repaired.refused.items():
        print(f"not repaired: {name}: {why}")
    done, left = len(repaired.converted), len(repaired.refused)
    if done:
        print(f"wrote {out} with {_count(done, 'mask')} converted exactly, {left:,} refused")
    else:
        print(f"no mask could be repaired ({left:,} refused): {out} was not written")
