"""Per-image confusion matrices of a split, their protocol and their file."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_open
from vocseg.utils.checksum import DamagedError, append_checksum, verify_zip

Counts = npt.NDArray[np.int64]

_MOST_CELLS = 1 << 27  # a gigabyte of dense matrices


def sparse(name: str, counts: Counts) -> dict[str, npt.NDArray[Any]]:
    """Arrays of the non-zero cells of int64 `[N,C,C]`: their number by image, indices and pixels."""
    flat = counts.reshape(len(counts), -1)
    image, cell = np.nonzero(flat)
    pixels = flat[image, cell]
    return {
        f"{name}_cells": np.bincount(image, minlength=len(flat)).astype(np.uint32),
        f"{name}_where": cell.astype(np.uint16 if flat.shape[1] <= 2**16 else np.uint32),
        f"{name}_pixels": pixels.astype(np.uint32 if pixels.max(initial=0) < 2**32 else np.uint64),
    }


def dense(arrays: Mapping[str, npt.NDArray[Any]], name: str, images: int, classes: int) -> Counts:
    """Inverse of `sparse` for unchecked arrays of N images and C classes, int64 `[N,C,C]`.

    Raises:
        KeyError: If an array is missing.
        ValueError: If an array is invalid.
    """
    cells, where, pixels = (arrays[f"{name}_{part}"] for part in ("cells", "where", "pixels"))
    for each in (cells, where, pixels):
        if each.ndim != 1 or not np.issubdtype(each.dtype, np.unsignedinteger):
            raise ValueError(f"the {name} are not counts")
    if len(cells) != images or not int(cells.sum(dtype=np.float64)) == len(where) == len(pixels):
        raise ValueError(f"the {name} are not those of {images:,} images")
    if images * classes**2 > _MOST_CELLS or where.max(initial=0) >= classes**2:
        raise ValueError(f"the {name} are not those of {classes:,} classes")
    place = np.repeat(np.arange(images), cells) * classes**2 + where.astype(np.int64)
    if len(np.unique(place)) < len(place):
        raise ValueError(f"the {name} have a cell twice")
    counts = np.zeros(images * classes**2, np.int64)
    counts[place] = pixels
    return counts.reshape(images, classes, classes)


_MOST_BYTES = 1 << 29  # unpacked; all of VOC takes a few million
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an `.npz` by name, without pickle.

    Raises:
        OSError: If the file cannot be opened.
        Exception: Almost any, if the file is damaged or unpacks to more than half a gigabyte.
    """
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")  # reading a pipe may never end
    with path.open("rb") as file:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_BYTES:
            raise ValueError("it unpacks to more than half a gigabyte")
        return {each.filename.removesuffix(".npy"): _array(archive.read(each)) for each in members}


def _array(data: bytes) -> npt.NDArray[Any]:
    # Before numpy allocates memory, the header must agree with the length of the data.
    stream = io.BytesIO(data)
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("an array is not as long as its header says")
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


@dataclass(frozen=True)
class Protocol:
    """Conditions of a score; two scores are comparable if these are equal."""

    split: str
    images: int
    fingerprint: str  # of the ids and the decoded content of the images and masks
    size: int  # input resolution, size x size; 0: unknown
    resolution: Literal["network", "original"] = "network"  # of the scored pixels
    tta: str | None = None  # test-time augmentation, e.g. "flip, scales 0.75 1 1.25"
    windows: str | None = None  # sliding windows, e.g. "stride 0.5"; None: images are resized to the input

    @property
    def views(self) -> str:
        """Input resolution, windows and test-time augmentation."""
        size = f"{self.size}x{self.size}"
        windows = f" windows, {self.windows}" if self.windows else ""
        return size + windows + (f"; tta: {self.tta}" if self.tta else "")

    @property
    def pixels(self) -> str:
        """Resolution of the scored pixels."""
        return "original resolution" if self.resolution == "original" else self.views

    def __str__(self) -> str:
        original = self.resolution == "original" and self.size
        predicted = f" (predicted {'in' if self.windows else 'at'} {self.views})" if original else ""
        return (
            f"{self.split}, {self.images:,} images at {self.pixels}{predicted} (data {self.fingerprint[:8]})"
        )


FORMAT = 1


@dataclass(frozen=True, eq=False)
class PerImageConfusion:
    """Confusion matrices of a split's images.

    Raises:
        ValueError: If the parts do not fit together.
    """

    ids: tuple[str, ...]  # ids of the N images
    matrices: Counts  # int64 `[N,C,C]`, pixels; rows true, columns predicted; ignored pixels excluded
    protocol: Protocol  # conditions of the score
    classes: tuple[str, ...]  # names of the C classes
    band: Counts | None = None  # int64 `[N,C,C]`, pixels near a boundary; None: not counted

    def __post_init__(self) -> None:
        shape = (len(self.ids), len(self.classes), len(self.classes))
        for counts in (self.matrices, *(() if self.band is None else (self.band,))):
            if counts.shape != shape or not np.issubdtype(counts.dtype, np.integer):
                raise ValueError(f"counts are {counts.dtype} {counts.shape}, not integers {shape}")
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise ValueError("there must be at least one image, and each only once")
        low = self.matrices if self.band is None else np.minimum(self.band, self.matrices - self.band)
        if int(low.min()) < 0:
            raise ValueError("a count is negative, or the band holds more pixels than there are")

    def total(self) -> Counts:
        """Sum over all images, int64 `[C,C]`."""
        total: Counts = np.sum(self.matrices, axis=0, dtype=np.int64)
        return total

    def total_band(self) -> Counts | None:
        """Sum of the boundary pixels over all images, int64 `[C,C]`; None if not counted."""
        return None if self.band is None else np.sum(self.band, axis=0, dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` with a checksum, atomically and without pickle."""
        facts = {
            "format": FORMAT,
            "protocol": asdict(self.protocol),
            "classes": self.classes,
            "ids": self.ids,
        }
        arrays = {"facts": np.array(json.dumps(facts)), **sparse("matrices", self.matrices)}
        arrays |= {} if self.band is None else sparse("band", self.band)
        with atomic_open(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            append_checksum(file)


def load_per_image_confusion(path: Path) -> PerImageConfusion:
    """Read a file of `PerImageConfusion.save`.

    Raises:
        UserError: If the file is missing, damaged, of another kind or of another version.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file. Pass a file that `test` or `validate` wrote.")
    try:
        verify_zip(path, stored=False)
        arrays = read_arrays(path)
        facts = json.loads(str(arrays["facts"]))
        newer = int(facts["format"]) > FORMAT
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror or 'it is not an .npz file'}.") from error
    except Exception as error:  # numpy, zip and zlib raise almost any exception on damaged bytes
        reason = f" ({error})" if isinstance(error, DamagedError) else ""
        raise UserError(
            f"{path} holds no per-image scores, or is damaged{reason}. Score the weights again with `test`."
        ) from error
    if newer:
        raise UserError(f"{path} was written by a newer vocseg. Update vocseg.")
    try:
        protocol = _protocol(path, dict(facts["protocol"]))
        ids, classes = _names(facts["ids"]), _names(facts["classes"])
        names = [name for name in ("matrices", "band") if f"{name}_cells" in arrays]
        counts = {name: dense(arrays, name, len(ids), len(classes)) for name in names}
        return PerImageConfusion(ids, counts["matrices"], protocol, classes, counts.get("band"))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({shown(error)}). Score the weights again with `test`."
        ) from error


def _names(values: Any) -> tuple[str, ...]:
    """Printable ids or class names."""
    if not isinstance(values, list) or not all(isinstance(k, str) and k.isprintable() for k in values):
        raise ValueError("a name is not printable text")
    return tuple(values)


def _protocol(path: Path, plain: dict[str, Any]) -> Protocol:
    known = {field.name for field in fields(Protocol)}
    needed = {field.name for field in fields(Protocol) if field.default is MISSING}
    if unknown := plain.keys() - known:
        name = shown(min(unknown))
        raise UserError(f"{path} was written by a newer vocseg: its protocol has '{name}'. Update vocseg.")
    if missing := needed - plain.keys():
        raise UserError(
            f"{path} was written by an older vocseg: its protocol has no '{min(missing)}'. "
            "Score the weights again with `test`."
        )
    protocol = Protocol(**plain)
    ways = [each for each in (protocol.tta, protocol.windows) if each is not None]
    _names([protocol.split, protocol.fingerprint, *ways])
    valid = all(type(number) is int and number >= 0 for number in (protocol.images, protocol.size))
    if not valid or not protocol.images or protocol.resolution not in ("network", "original"):
        raise ValueError("the protocol is invalid")
    return protocol
