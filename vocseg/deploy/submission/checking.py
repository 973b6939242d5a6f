"""Whether an archive is what the server takes for a list of images."""

import posixpath
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vocseg.deploy.submission.contents import Contents, read_contents
from vocseg.deploy.submission.faults import Fault
from vocseg.deploy.submission.layout import competition_in, id_in, member_of, stray_folder, wrong_name
from vocseg.deploy.submission.pictures import Size
from vocseg.deploy.submission.result import Check
from vocseg.deploy.submission.tarball import packing_fault


def check_archive(
    archive: Path, sizes: Mapping[str, Size], competition: int | None = None, progress: bool = True
) -> Check:
    """Read an archive once and name everything that is wrong with it.

    Args:
        archive: A `.tar.gz`, `.tgz` or `.tar`; another is told apart.
        sizes: Width and height of every image of the list, by id.
        competition: The one that it should be for; None: the one whose folder it has.
        progress: Show a bar.

    Raises:
        UserError: If there is no such file.
    """
    packing = packing_fault(archive)
    contents = read_contents(archive, sizes, progress)
    competition = competition or competition_in(contents.files)
    faults = [Fault(archive.name, "archive", packing)] if packing else []
    nothing = contents.broken is not None and not contents.files
    if not (packing and nothing):  # what is no archive at all lacks more than masks
        faults += _faults(archive.name, contents, sizes, competition)
    return contents.tally.check(archive, competition, len(sizes), faults)


def _faults(archive: str, contents: Contents, sizes: Mapping[str, Size], competition: int) -> list[Fault]:
    """Names, number and content of what was read."""
    faults = [Fault(archive, contents.broken.kind, str(contents.broken))] if contents.broken else []
    faults += [Fault(name, "link", f"{what}: pack files only") for name, what in contents.odd.items()]
    for name in contents.files:
        wrong = wrong_name(name, sizes, competition)
        faults += [Fault(name, *wrong)] if wrong else []
    faults += _strays(contents.folders, [fault.member for fault in faults], competition)
    paths = Counter(posixpath.normpath(name) for name in [*contents.files, *contents.odd])
    faults += [Fault(path, "duplicate", f"{n} times: keep one") for path, n in paths.items() if n > 1]
    faults += [Fault(name, *wrong) for name, wrong in contents.wrong]
    if contents.broken is None:  # else they may be in the part that was not read
        there = {id_in(name, sizes) for name in contents.files}
        absent = [member_of(competition, id) for id in sizes if id not in there]
        faults += [Fault(member, "missing", "add its mask") for member in absent]
    return faults


def _strays(folders: list[str], named: list[str], competition: int) -> list[Fault]:
    """Folders that do not lead to the masks, but for those in which a file was named already."""
    found: list[Fault] = []
    for name in folders:
        wrong = stray_folder(name, competition)
        below = f"{posixpath.normpath(name)}/"
        if wrong and not any(posixpath.normpath(each).startswith(below) for each in named):
            found.append(Fault(name, *wrong))
    return found
