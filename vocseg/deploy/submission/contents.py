"""What an archive holds, each mask examined as it goes by."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vocseg.data.progress import follow
from vocseg.deploy.submission.layout import Wrong, id_in
from vocseg.deploy.submission.pictures import Size, examine
from vocseg.deploy.submission.result import Tally
from vocseg.deploy.submission.tarball import Entry, UnusableArchiveError, entries
from vocseg.errors import shown

_SPARE = 1 << 20  # bytes beside a mask's pixels: headers, palette, text


@dataclass
class Contents:
    """What reading an archive gave.

    Attributes:
        files: The names of its files, in its order.
        folders: The names of its folders.
        odd: What links, devices and pipes are, by name.
        wrong: What is wrong with the content of files, with their names.
        tally: What the masks show; the first of an image, where there are several.
        broken: Why it could not be read to its end.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)
    wrong: list[tuple[str, Wrong]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    broken: UnusableArchiveError | None = None

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def add(self, entry: Entry, sizes: Mapping[str, Size]) -> None:
        """Look at an entry, and at its content where it is named after an image."""
        name, header = entry.header.name, entry.header
        if header.isdir():
            self.folders.append(name)
        elif not header.isreg():
            self.odd[name] = (
                f"a link to '{shown(header.linkname)}'" if header.linkname else "a device or a pipe"
            )
        else:
            self.files.append(name)
            if (id := id_in(name, sizes)) is not None:
                self._look(name, id, entry, sizes[id])

    def _look(self, name: str, id: str, entry: Entry, size: Size) -> None:
        if entry.data is None:
            text = f"its {entry.header.size:,} bytes are more than a mask of {size[0]}x{size[1]} can take"
            self.wrong.append((name, ("unreadable", text)))
            return
        found = examine(entry.data, size)
        self.wrong += [(name, wrong) for wrong in found.wrong]
        if found.indices is not None and id not in self._seen:
            self._seen.add(id)
            self.tally.add(found.indices)


def read_contents(archive: Path, sizes: Mapping[str, Size], progress: bool) -> Contents:
    """Read an archive once, from front to end, unpacking nothing.

    Args:
        archive: A `.tar`, packed with gzip or not.
        sizes: Width and height of every image of the list, by id.
        progress: Show a bar.
    """
    contents = Contents()
    # Four bytes a pixel: masks with the mistake of RGBA are still to be looked at.
    room = {id: 4 * width * height + _SPARE for id, (width, height) in sizes.items()}

    def most_of(name: str) -> int:
        return room.get(posixpath.splitext(posixpath.basename(name))[0], 0)

    found = entries(archive, sum(room.values()) + 64 * _SPARE, 4 * len(sizes) + 1000, most_of)
    try:
        for entry in follow(found, "checking", len(sizes), progress):
            contents.add(entry, sizes)
    except UnusableArchiveError as fault:
        contents.broken = fault
    return contents
