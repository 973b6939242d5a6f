"""Content hashes of files and the manifest of a data set."""

# Digests are XXH3 (128 bits): at several GB a second they cost nothing beside decoding. They guard against
# accidents, not against forged files.

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from vocseg.data.image_io import colour_codes
from vocseg.errors import UserError
from vocseg.utils.atomic_write import atomic_write

MANIFEST = "manifest.json"
_CONTENTS = "contents.json"  # records of files read: one whose times are unchanged is not read again


class FileContent(NamedTuple):
    """Record of a file at the time it was read."""

    size: int  # bytes
    modified: int  # ns
    changed: int  # ns; unlike `modified` it cannot be set by copying with times
    raw: str  # digest of the bytes
    pixels: str  # digest of the decoded pixels: the same for any lossless encoding
    counts: dict[str, int] | None = None  # of a mask: pixels by value, or by colour (`#rrggbb`)

    @classmethod
    def of(
        cls, status: os.stat_result, data: bytes, pixels: npt.NDArray[np.uint8], mask: bool = False
    ) -> "FileContent":
        """Create the record of a file from its status before reading, its bytes and its decoded pixels.

        The pixels of a mask are counted by value.
        """
        times = (status.st_mtime_ns, status.st_ctime_ns)
        digest = xxhash.xxh3_128(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        counts = _counts(pixels) if mask else None
        return cls(status.st_size, *times, bytes_digest(data), digest.hexdigest(), counts)

    def is_of(self, status: os.stat_result) -> bool:
        """Return whether size and times of a file are those of the record."""
        return self[:3] == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


Contents = dict[str, FileContent]  # by path within the `VOC2012` folder, with slashes


def bytes_digest(data: bytes) -> str:
    """Return 32 hexadecimal digits over the bytes of a file."""
    return xxhash.xxh3_128_hexdigest(data)


def _counts(pixels: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Number of pixels of a mask by value `[H,W]`, or by colour `[H,W,3]`."""
    if pixels.ndim == 2:
        found = np.bincount(pixels.ravel(), minlength=256)
        return {str(value): int(found[value]) for value in np.flatnonzero(found)}
    codes, numbers = np.unique(colour_codes(pixels), return_counts=True)
    return {f"#{code:06x}": int(number) for code, number in zip(codes, numbers, strict=True)}


def fingerprint(ids: Iterable[str], pixels: Iterable[tuple[str, str]]) -> str:
    """Return sixteen hexadecimal digits over ids in order and the digests `pixels` of image and mask."""
    lines = (f"{id} {image} {mask}\n" for id, (image, mask) in zip(ids, pixels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def cache_folder(voc: Path, wanted: Path | None = None) -> Path:
    """Return the folder for files derived from a data set, which may not exist.

    Without the user's choice it is `.vocseg` in the data set, or the user's cache folder if it is read-only.
    """
    if wanted is None and os.access(voc, os.W_OK):
        return voc / ".vocseg"
    base = Path(wanted or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vocseg")
    return base / f"{voc.name}-{hashlib.sha256(str(voc.resolve()).encode()).hexdigest()[:8]}"


def read_contents(cache: Path) -> Contents:
    """Return the records of earlier runs; empty if there are none or the file is damaged."""
    try:
        plain = json.loads((cache / _CONTENTS).read_text(encoding="utf-8"))
        return {name: FileContent(*facts) for name, facts in plain.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_contents(cache: Path, contents: Mapping[str, FileContent]) -> None:
    """Add records to those of other runs."""
    merged = {**read_contents(cache), **contents}
    atomic_write(cache / _CONTENTS, json.dumps(merged, separators=(",", ":")))


def write_manifest(cache: Path, contents: Mapping[str, FileContent]) -> None:
    """Write the expected digest of every file; replaces an earlier manifest."""
    plain = {name: facts.raw for name, facts in sorted(contents.items())}
    atomic_write(cache / MANIFEST, json.dumps(plain, indent=0) + "\n")


def read_manifest(cache: Path) -> dict[str, str]:
    """Return the digest of the bytes of every audited file; empty if there is no manifest.

    Raises:
        UserError: If the manifest cannot be read.
    """
    path = cache / MANIFEST
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}): run `python -m vocseg audit` again, or "
            "remove it"
        ) from error
