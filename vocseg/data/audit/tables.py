"""The result of an audit, for people."""

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocseg.data.audit.distribution import Distribution
from vocseg.data.audit.findings import KINDS, Finding
from vocseg.data.audit.report import Audit
from vocseg.errors import printable

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
    for kind, some in kinds.items():
        colour = "yellow" if some[0].level == "note" else "red"
        table.add_section()
        table.add_row(
            Text(f"{kind} ({len(some):,})", style=f"bold {colour}"), Text(KINDS[kind], style="bold")
        )
        for finding in some[:_SHOWN]:
            table.add_row(Text(printable(finding.file)), Text(printable(finding.text)))
        if len(some) > _SHOWN:
            table.add_row(
                Text(f"and {len(some) - _SHOWN:,} more", style="dim"), Text("see the report", style="dim")
            )
    return table
