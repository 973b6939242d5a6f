"""What can be wrong with an archive of predictions."""

from dataclasses import dataclass

KINDS = {
    "archive": "it is not what the server unpacks",
    "archive-damaged": "the archive cannot be read to its end",
    "too-much": "the archive holds more than the masks could take",
    "unsafe-path": "the entry would be unpacked outside the folder",
    "link": "the entry is a link, a device or a pipe, not a file",
    "junk": "the entry was left by an operating system",
    "wrong-folder": "the entry is not where the server looks",
    "wrong-competition": "the entry is in the folder of another competition",
    "wrong-year": "the entry is in the folder of another year",
    "nested": "the entry is in a folder below the one it belongs into",
    "wrong-id": "no image of the list has this name",
    "duplicate": "the entry is there more than once",
    "missing": "an image of the list has no mask",
    "not-png": "the file is no PNG",
    "unreadable": "the PNG is damaged, or cannot be read",
    "mode": "the PNG is no palette picture (mode P) of class indices",
    "grey": "the PNG holds class indices, but no palette",
    "palette": "the palette is not VOC's",
    "void": "the mask holds 255, which a prediction must not",
    "values": "the mask holds values that are no class",
    "size": "the mask is not as large as its image",
}


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        member: The entry in the archive, as the archive calls it; the archive itself where it is meant whole.
        kind: One of `KINDS`.
        text: What is wrong with this very entry, and what to do.
    """

    member: str
    kind: str
    text: str
