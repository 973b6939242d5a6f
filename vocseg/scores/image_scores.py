"""What was counted, image by image: a small file from which every score and its uncertainty follow."""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.errors import UserError, shown
from vocseg.scores.npz import read_arrays
from vocseg.scores.protocol import Protocol
from vocseg.scores.sparse import dense, sparse
from vocseg.seals import DamagedError, check_zip, seal
from vocseg.whole_files import whole_file

Counts = npt.NDArray[np.int64]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class ImageScores:
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
        with whole_file(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            seal(file)


def load_image_scores(path: Path) -> ImageScores:
    """Read what `ImageScores.save` wrote.

    Raises:
        UserError: If the file is missing, damaged, something else, or of another version.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no plain file: name one that `test` or `validate` wrote")
    try:
        check_zip(path, stored=False)
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
        return ImageScores(ids, counts["matrices"], protocol, classes, counts.get("band"))
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
