"""Per-image confusion matrices of a split, their protocol and their file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_open
from vocseg.utils.checksum import DamagedError, append_checksum, verify_zip

Counts = npt.NDArray[np.int64]


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
        facts = {"protocol": asdict(self.protocol), "classes": self.classes, "ids": self.ids}
        counts = {"matrices": self.matrices} | ({} if self.band is None else {"band": self.band})
        arrays = {name: each.astype(np.uint32) for name, each in counts.items()}
        with atomic_open(path) as file:
            np.savez_compressed(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)
            append_checksum(file)


def load_per_image_confusion(path: Path) -> PerImageConfusion:
    """Read a file of `PerImageConfusion.save`.

    Raises:
        UserError: If the file is missing, damaged, of another kind or of another version.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe may never end
            raise OSError(None, "it is not a regular file")
        verify_zip(path, stored=False)
        with np.load(path, allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            names = [name for name in ("matrices", "band") if name in archive]
            counts = {name: archive[name].astype(np.int64, casting="safe") for name in names}
        ids, classes, protocol = tuple(facts["ids"]), tuple(facts["classes"]), Protocol(**facts["protocol"])
        if not all(name.isprintable() for name in (*ids, *classes, str(protocol))):
            raise ValueError("a name is not printable")
        return PerImageConfusion(ids, counts["matrices"], protocol, classes, counts.get("band"))
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror or 'it is not an .npz file'}.") from error
    except Exception as error:  # numpy, zip and zlib raise almost any exception on damaged bytes
        reason = f" ({shown(error)})" if isinstance(error, DamagedError | ValueError) else ""
        raise UserError(
            f"{path} holds no per-image scores, or is damaged{reason}. Score the weights again with `test`."
        ) from error
