"""Check of the classes that masks contain."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX, VOID_SHARE
from vocseg.data.fingerprint import read_contents
from vocseg.data.splits import Split
from vocseg.errors import UserError, some


def check_labels(split: Split, cache: Path, training: bool) -> None:
    """Reject masks that show one class only, and warn of absent classes and many ignored pixels.

    A validation split (not `training`) may lack classes.

    Raises:
        UserError: If no mask shows any class but the first.
    """
    values, classes = _recorded_values(split, cache), split.classes
    if not values.any():
        return  # no file was read
    counts = np.bincount(classes.table, weights=values, minlength=IGNORE_INDEX + 1)
    ignored = float(counts[IGNORE_INDEX] / values.sum())
    absent = [f"'{name}'" for name, number in zip(classes.names, counts, strict=False) if number == 0]
    used = np.flatnonzero(values).tolist()
    if not counts[1 : len(classes)].any() and (training or used in ([0, IGNORE_INDEX], [IGNORE_INDEX])):
        raise UserError(
            f"the masks of '{split.name}' show {some(absent)} nowhere: they hold {some([*map(str, used)])}, "
            f"and {IGNORE_INDEX} is ignored ({ignored:.0%} of the pixels). Map their values to the classes, "
            f"for example with --data.mask_values '[0, {IGNORE_INDEX}]' or with `value: {IGNORE_INDEX}` in a "
            "YAML class list, or give other masks (--data.mask_folder) or classes (--data.classes)"
        )
    if not training:
        return
    if absent:
        warnings.warn(
            f"vocseg: no mask of '{split.name}' shows {some(absent)}, so that it cannot be learnt: correct "
            "--data.classes or the masks, if that is not intended",
            stacklevel=2,
        )
    if ignored > VOID_SHARE:
        warnings.warn(
            f"vocseg: {ignored:.0%} of the pixels in the masks of '{split.name}' have the value "
            f"{IGNORE_INDEX}, which is ignored in training and scores; if it means a class, give the class "
            f"`value: {IGNORE_INDEX}` in the class list, or use --data.mask_values",
            stacklevel=2,
        )


def _recorded_values(split: Split, cache: Path) -> npt.NDArray[np.int64]:
    """Pixels of the masks by mask value `[256]`, at the original resolution, from the records of files."""
    contents = read_contents(cache)
    colours, values = split.classes.by_colour
    by_colour = {f"#{code:06x}": int(value) for code, value in zip(colours, values, strict=True)}
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for k in range(len(split)):
        known = contents.get(split.layout.name(split.paths(k)[1]))
        for key, number in ((known and known.counts) or {}).items():
            counts[by_colour.get(key, IGNORE_INDEX) if key.startswith("#") else int(key)] += number
    return counts
