"""Where a run's figures are written, and what is kept off the terminal."""

import logging
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def run_loggers(folder: Path, extra: Any) -> dict[str, Any]:
    """Our loggers first, since Lightning takes the run's folder from the first; then the user's own."""
    if extra is False:
        return {"logger": False, "default_root_dir": folder}
    root, verb, version = folder.parent.parent, folder.parent.name, folder.name
    ours = [TensorBoardLogger(root, verb, version, default_hp_metric=False), CSVLogger(root, verb, version)]
    return {
        "logger": [*ours, *([] if extra in (None, True) else extra if isinstance(extra, list) else [extra])]
    }


def quieten() -> None:
    """Keep back what Lightning says of folders that are new by construction, and its advertisements."""
    for folder in ("Checkpoint", "Experiment logs"):
        warnings.filterwarnings("ignore", message=f"{folder} directory .* exists and is not empty")
    # Our figures are sums over all processes already, so that there is nothing to sync.
    warnings.filterwarnings("ignore", message="It is recommended to use .self.log.* sync_dist=True")
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(lambda record: "Tip:" not in record.getMessage())
