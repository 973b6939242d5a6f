"""`compare`: paired bootstrap comparison of scored runs."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeInt
from rich.console import Console

from vocseg.constants import STDOUT
from vocseg.errors import UserError
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.metrics.run_groups import RunGroup
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.regular_file import as_json
from vocseg.visualization.tables import difference_tables

# The first that all runs have is compared.
FILES = ("per_image_confusion_original.npz", "per_image_confusion_network.npz")
Across = Literal["size", "tta", "windows"]
_FEWEST_RESAMPLES = 100


def compare(
    runs: list[str],
    json: Path | None = None,
    images: NonNegativeInt = 10,
    num_bootstrap: int = 2000,
    seed: NonNegativeInt = 0,
    allow_different: list[Across] | None = None,
) -> list[Comparison]:
    """Compare runs that were scored on the same images, with 95 % bootstrap intervals of the differences.

    `compare A B C` compares B with A, and C with A. Each is the folder of a run of `test` or `validate`, or a
    file of per-image scores. Several seeds of one recipe are joined by commas and count as one:
    `compare old1,old2,old3 new1,new2,new3`.

    Args:
        runs: Runs to compare, A first; also as positional arguments before all flags.
        json: JSON file of the results, per-image scores included; `-`: standard output, without tables.
        images: Number of images with the largest changes in the table.
        num_bootstrap: Number of bootstrap resamples.
        seed: Random seed of the resamples.
        allow_different: Protocol fields in which runs may differ: tta, windows, size.

    Returns:
        A comparison of each other run with A.

    Raises:
        UserError: If a run has no per-image scores, or other images or another protocol.
    """
    if len(runs) < 2:
        raise UserError(f"compare needs at least two runs, got {len(runs)}. Pass them as `compare A B`.")
    if num_bootstrap < _FEWEST_RESAMPLES:
        raise UserError(f"--num_bootstrap {num_bootstrap}: must be at least {_FEWEST_RESAMPLES}.")
    first, *others = read_groups(runs)
    results = [compare_groups(first, each, num_bootstrap, seed, allow_different or ()) for each in others]
    if json is not None:
        text = as_json({"comparisons": [each.as_dict() for each in results]})
        if json == STDOUT:
            print(text)
            return results
        atomic_write(json, text + "\n")
    for k, each in enumerate(results):
        Console().print(difference_tables(each, chr(ord("B") + k) if k < 25 else f"B{k + 1}", images))
    if all(Path(run).is_dir() for run in runs):
        print(f"next     python -m vocseg report {' '.join(map(shlex.quote, runs))}")
    return results


def read_groups(runs: Sequence[str]) -> list[RunGroup]:
    """Read the per-image scores of folders or files; those joined by commas are one group.

    Raises:
        UserError: If a run has no per-image scores, or no file of scores is in all folders.
    """
    paths = [[Path(run)] if Path(run).exists() else check_names(run) for run in runs]
    name = _common_file([path for group in paths for path in group if path.is_dir()])
    files = [[path / name if path.is_dir() else path for path in group] for group in paths]
    return [
        RunGroup(run, tuple(load_per_image_confusion(file) for file in group))
        for run, group in zip(runs, files, strict=True)
    ]


def check_names(run: str) -> list[Path]:
    """The existing folders or files of runs joined by commas.

    Raises:
        UserError: If one does not exist.
    """
    paths = [Path(name.strip()) for name in run.split(",")]
    for path in paths:
        if path == Path() or not path.exists():
            raise UserError(f"{run}: there is no run '{path}'. Pass folders of runs of `test` or `validate`.")
    return paths


def _common_file(folders: Sequence[Path]) -> str:
    """The first file of scores that all folders have."""
    for name in FILES:
        lacking = [folder for folder in folders if not (folder / name).is_file()]
        if not lacking:
            return name
    raise UserError(
        f"the runs have no file of per-image scores in common: {lacking[0]} has no {name}. Score the weights "
        "of all with `test`, and pass the folders of these runs."
    )
