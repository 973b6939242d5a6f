"""Whose weights a run scored."""

import os
from pathlib import Path
from typing import Any

from vocseg import __version__

_CURVES = "metrics.csv"  # what tells the folder of a run that trained from any other folder


def weights_origin(weights: Path | None, folder: Path, module: Any) -> dict[str, Any]:
    """What `scores.json` says of the weights, so that a report finds the run that made them.

    Args:
        weights: The file that was loaded; None: none was.
        folder: Of the run that scores.
        module: What was scored.

    Returns:
        Plain values: file (from the root of the file system, and from the folder, as both may move
        together), folder of the run that trained it or None, network, version.
    """
    where: dict[str, str | None] = {"path": None, "relative": None, "run": None}
    if weights is not None:
        whole = weights.resolve()
        run = str(whole.parent) if (whole.parent / _CURVES).is_file() else None
        where = {"path": str(whole), "relative": os.path.relpath(whole, folder.resolve()), "run": run}
    network = {name: module.hparams.get(name) for name in ("arch", "encoder")}
    return {**where, **network, "vocseg": __version__}
