"""What an audit says in the terminal, under its tables."""

from pathlib import Path

from vocseg.data.audit.repair import Repair
from vocseg.data.audit.report import Audit
from vocseg.data.audit.tables import audit_tables
from vocseg.data.manifest import MANIFEST
from vocseg.voc import Layout


def tell(result: Audit, layout: Layout, cache: Path, report: Path) -> None:
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
