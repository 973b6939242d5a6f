"""Confusion matrices of every image of a split."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.errors import UserError, shown
from vocseg.metrics.protocol import Protocol
from vocseg.utils.atomic_write import atomic_open
from vocseg.utils.checksum import DamagedError, append_checksum, verify_zip

Counts = npt.NDArray[np.int64]

_MOST_CELLS = 1 << 27  # a gigabyte when they are written out


def sparse(name: str, counts: Counts) -> dict[str, npt.NDArray[Any]]:
    """How many such cells each image has, where they are, and what they hold.

    Args:
        name: What the arrays' names begin with.
        counts: int64 `[N,C,C]`.
    """
    flat = counts.reshape(len(counts), -1)
    image, cell = np.nonzero(flat)
    pixels = flat[image, cell]
    return {
        f"{name}_cells": np.bincount(image, minlength=len(flat)).astype(np.uint32),
        f"{name}_where": cell.astype(np.uint16 if flat.shape[1] <= 2**16 else np.uint32),
        f"{name}_pixels": pixels.astype(np.uint32 if pixels.max(initial=0) < 2**32 else np.uint64),
    }


def dense(arrays: Mapping[str, npt.NDArray[Any]], name: str, images: int, classes: int) -> Counts:
    """The matrices int64 `[N,C,C]` that `sparse` took apart.

    Args:
        arrays: From a file, so that they may be anything.
        name: What the arrays' names begin with.
        images: N.
        classes: C.

    Raises:
        KeyError: If an array is missing.
        ValueError: If they are something else.
    """
    cells, where, pixels = (arrays[f"{name}_{part}"] for part in ("cells", "where", "pixels"))
    for each in (cells, where, pixels):
        if each.ndim != 1 or not np.issubdtype(each.dtype, np.unsignedinteger):
            raise ValueError(f"the {name} are no lists of counts")
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


_MOST_BYTES = 1 << 29  # unpacked; the scores of all of VOC take a few million
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz`, by name; none is made of pickled objects.

    Raises:
        OSError: If the file cannot be opened.
        Exception: Of nearly any kind, if its bytes are foreign or damaged, or unpack to half a gigabyte.
    """
    if path.exists() and not path.is_file():
        raise ValueError("a folder, or a pipe that one could wait for endlessly")
    with path.open("rb") as file:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_BYTES:
            raise ValueError("it unpacks to more than scores can be")
        return {each.filename.removesuffix(".npy"): _array(archive.read(each)) for each in members}


def _array(data: bytes) -> npt.NDArray[Any]:
    """An array, once its header is seen to say what is there."""
    stream = io.BytesIO(data)
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("an array is not as long as it says")
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


FORMAT = 1


@dataclass(frozen=True, eq=False)
class PerImageConfusion:
    """The confusion matrices of a split's images, void left out.

    Attributes:
        ids: Of the N images.
        matrices: int64 `[N,C,C]`, pixels; rows true, columns predicted.
        protocol: How they were counted.
        classes: Names of the C classes.
        band: int64 `[N,C,C]`, those of the pixels that lie near a boundary; None: not counted.
    """

    ids: tuple[str, ...]
    matrices: Counts
    protocol: Protocol
    classes: tuple[str, ...]
    band: Counts | None = None

    def __post_init__(self) -> None:
        """See that the parts belong together.

        Raises:
            ValueError: If not.
        """
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
        """int64 `[C,C]` over all images."""
        total: Counts = np.sum(self.matrices, axis=0, dtype=np.int64)
        return total

    def total_band(self) -> Counts | None:
        """int64 `[C,C]` over all images, near a boundary alone; None if that was not counted."""
        return None if self.band is None else np.sum(self.band, axis=0, dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` without pickle, whole or not at all."""
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
    """Read what `PerImageConfusion.save` wrote.

    Raises:
        UserError: If the file is missing, damaged, something else, or of another version.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no plain file: name one that `test` or `validate` wrote")
    try:
        verify_zip(path, stored=False)
        arrays = read_arrays(path)
        facts = json.loads(str(arrays["facts"]))
        format_ = int(facts["format"])
    except OSError as fault:
        raise UserError(f"{path} cannot be opened: {fault.strerror or 'it is no .npz file'}") from fault
    except DamagedError as fault:
        raise UserError(
            f"{path} holds no scores by image, or is damaged ({fault}): score the weights again"
        ) from fault
    except Exception as fault:  # numpy, zip and zlib raise nearly anything on foreign or damaged bytes
        raise UserError(
            f"{path} holds no scores by image, or is damaged: name a file that `test` or `validate` wrote"
        ) from fault
    if format_ > FORMAT:
        raise UserError(f"{path} was made by a newer vocseg: update vocseg")
    try:
        protocol = _protocol(path, dict(facts["protocol"]))
        ids, classes = _names(facts["ids"]), _names(facts["classes"])
        names = [name for name in ("matrices", "band") if f"{name}_cells" in arrays]
        counts = {name: dense(arrays, name, len(ids), len(classes)) for name in names}
        return PerImageConfusion(ids, counts["matrices"], protocol, classes, counts.get("band"))
    except (KeyError, IndexError, TypeError, ValueError) as fault:
        raise UserError(f"{path} is damaged ({shown(fault)}): score the weights again with `test`") from fault


def _names(values: Any) -> tuple[str, ...]:
    """Ids or names of classes, which will be shown in a terminal."""
    if not isinstance(values, list) or not all(
        isinstance(each, str) and each.isprintable() for each in values
    ):
        raise ValueError("a name is no text")
    return tuple(values)


def _protocol(path: Path, plain: dict[str, Any]) -> Protocol:
    known = {field.name: field for field in fields(Protocol)}
    needed = {name for name, field in known.items() if field.default is MISSING}
    if plain.keys() - known.keys():
        unknown = shown(min(plain.keys() - known.keys()))
        raise UserError(f"{path} was made by a newer vocseg, as its protocol has '{unknown}': update vocseg")
    if needed - plain.keys():
        missing = min(needed - plain.keys())
        raise UserError(
            f"{path} was made by an older vocseg, as its protocol has no '{missing}': "
            "score the weights again with `test`"
        )
    protocol = Protocol(**plain)
    _names([protocol.split, protocol.fingerprint])
    whole = all(type(number) is int and number >= 0 for number in (protocol.images, protocol.size))
    if not whole or not protocol.images or protocol.resolution not in ("network", "original"):
        raise ValueError("the protocol's numbers are none")
    return protocol
