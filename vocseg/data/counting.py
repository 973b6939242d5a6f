"""How many pixels of each class the masks of a split hold."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vocseg.data.decoding import Bytes
from vocseg.data.files import Files
from vocseg.data.pairs import in_threads
from vocseg.data.reading import read_mask
from vocseg.data.resizing import Form, resize_mask
from vocseg.data.splits import Split
from vocseg.data.store import Store
from vocseg.errors import UserError

_VALUES = 256  # that a byte can have


def class_pixels(split: Split, source: Store | Files, form: Form, skip: bool = False) -> list[int]:
    """Count them, at the size in which masks are kept, so that large images weigh no more than small ones.

    Without a store the masks are decoded, and the images are not.

    Args:
        split: Whose masks.
        source: Where its pairs come from.
        form: Their size.
        skip: Leave out masks that cannot be read.

    Returns:
        A number by class; void is in none.

    Raises:
        UserError: If a mask is missing or wrong, unless faults are skipped.
    """
    counts = np.zeros(_VALUES, np.int64)
    for each in _counts(split, source, form, skip):
        counts += each
    return [int(count) for count in counts[: len(split.classes)]]


def balanced_weights(
    split: Split, source: Store | Files, form: Form, skip: bool = False
) -> npt.NDArray[np.float64]:
    """How often to sample each image so that rare classes are seen more often.

    As the repeat factors of LVIS (Gupta et al., CVPR 2019): an image weighs 1 / sqrt(f) of its rarest class,
    f being the fraction of images that show the class.

    Args:
        split: See `class_pixels`.
        source: See there.
        form: See there.
        skip: See there.

    Returns:
        `[N]`, positive; only their ratios matter.

    Raises:
        UserError: See `class_pixels`.
    """
    shown = np.array([each[: len(split.classes)] > 0 for each in _counts(split, source, form, skip)])  # [N,C]
    frequency = np.maximum(shown.mean(0), 1 / len(shown))
    weights: npt.NDArray[np.float64] = np.maximum((shown / np.sqrt(frequency)).max(1), 1.0)
    return weights


def _counts(split: Split, source: Store | Files, form: Form, skip: bool) -> Iterator[npt.NDArray[np.int64]]:
    """Pixels by value, image by image."""
    return _stored(split, source) if isinstance(source, Store) else _decoded(split, form, skip)


def _stored(split: Split, store: Store) -> Iterator[npt.NDArray[np.int64]]:
    return (_count(store[row].mask) for row in split.rows)


def _decoded(split: Split, form: Form, skip: bool) -> Iterator[npt.NDArray[np.int64]]:
    def count(index: int) -> npt.NDArray[np.int64]:
        try:
            mask = read_mask(split.paths(index)[1], split.classes)
        except UserError:
            if not skip:
                raise
            return np.zeros(_VALUES, np.int64)
        kept = resize_mask(mask, form.shape)
        return _count(kept if split.classes.as_stored else split.classes.table[kept])

    return in_threads(count, range(len(split)))


def _count(mask: Bytes) -> npt.NDArray[np.int64]:
    return np.bincount(mask.ravel(), minlength=_VALUES)
