"""The result of an audit, for programs."""

import json
from dataclasses import dataclass
from typing import Any

from vocseg.classes import ClassList
from vocseg.data.audit.distribution import Distribution
from vocseg.data.audit.findings import KINDS, Finding
from vocseg.errors import printable

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
