"""What is said of an archive in the terminal."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vocseg.deploy.submission.faults import KINDS, Fault
from vocseg.deploy.submission.layout import SERVER, TEST_IMAGES, folder_of
from vocseg.deploy.submission.result import Check
from vocseg.errors import printable
from vocseg.voc import CLASSES

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 8  # faults of one kind


def tell(check: Check, split: str) -> None:
    """Print what a check found: the faults, or else which classes the masks show."""
    from rich.console import Console

    console = Console()
    print(_facts(check, split))
    if check.faults:
        console.print(_faults(check.faults, f"{folder_of(check.competition)}/"))
        count = len(check.faults)
        print(f"{count:,} fault{'s' * (count > 1)}: the server would refuse it, or score it wrongly")
    else:
        console.print(_classes(check))
        print("no fault")


def tell_next(output: Path, split: str) -> None:
    """Print what is to be done with an archive that was written."""
    if split != "test":
        print(f"a rehearsal on '{split}': the server takes the list 'test' alone")
        return
    print(f"next: upload {output} at {SERVER} (register; choose VOC2012, Segmentation).")
    print(
        "Only you can do that. The server wants 500 characters or more on the method, and limits how often\n"
        "one may submit: try everything out on val first."
    )


def _facts(check: Check, split: str) -> str:
    size = f", {check.archive.stat().st_size:,} bytes" if check.archive.is_file() else ""
    text = (
        f"{check.archive}: {check.masks:,} masks for the {check.images:,} images of '{split}', "
        f"competition {check.competition} ({folder_of(check.competition)}){size}"
    )
    if split == "test" and check.images != TEST_IMAGES:
        text += f"\nnote: VOC 2012's own list 'test' (segmentation) has {TEST_IMAGES:,} images"
    return text


def _classes(check: Check) -> "Table":
    from rich.table import Table

    table = Table(title="what the masks show", title_justify="left")
    table.add_column("class")
    for name in ("images", "% of images", "% of pixels"):
        table.add_column(name, justify="right")
    pixels = max(sum(check.pixels), 1)
    for name, images, count in zip(CLASSES, check.images_with, check.pixels, strict=True):
        share = 100 * images / max(check.masks, 1)
        cells = (f"{images:,}", f"{share:.1f}", f"{100 * count / pixels:.2f}")
        table.add_row(name, *(cells if images else ("-", "-", "-")))
    return table


def _faults(faults: Sequence[Fault], folder: str) -> "Table":
    """By kind, in the order of `KINDS`: the first few of each, then how many more.

    Args:
        faults: All there are.
        folder: Where the masks belong; left out of the names of those that are there.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title="faults", title_justify="left")
    table.add_column("entry", overflow="fold", ratio=3)
    table.add_column("what is wrong", overflow="fold", ratio=3)
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    for kind in (kind for kind in KINDS if kind in kinds):
        some = kinds[kind]
        table.add_section()
        table.add_row(Text(f"{kind} ({len(some):,})", style="bold red"), Text(KINDS[kind], style="bold"))
        for fault in some[:_SHOWN]:
            table.add_row(Text(printable(fault.member.removeprefix(folder))), Text(printable(fault.text)))
        if len(some) > _SHOWN:
            table.add_row(Text(f"and {len(some) - _SHOWN:,} more", style="dim"), "")
    return table
