"""`compare`: paired bootstrap comparison of scored runs."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vocseg.constants import STDOUT
from vocseg.errors import UserError
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.metrics.run_groups import RunGroup, check_comparable
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.regular_file import as_json

FILES = (
    "per_image_confusion_original.npz",
    "per_image_confusion_network.npz",
)  # the first that all runs have is compared
Across = Literal["size", "tta", "windows"]
_MOST_RESAMPLES = 1_000_000


def compare(
    runs: list[str],
    json: Path | None = None,
    images: int = 10,
    num_bootstrap: int = 2000,
    seed: int = 0,
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
    if not 100 <= num_bootstrap <= _MOST_RESAMPLES:
        raise UserError(f"--num_bootstrap {num_bootstrap}: must be 100 to {_MOST_RESAMPLES:,}.")
    if images < 0 or seed < 0:
        raise UserError(f"--images {images} and --seed {seed} must not be negative.")
    groups, across = read_groups(runs), allow_different or ()
    check_comparable(groups, across)
    results = [compare_groups(groups[0], other, num_bootstrap, seed, across) for other in groups[1:]]
    text = as_json({"comparisons": [each.as_dict() for each in results]}) if json is not None else ""
    if json == STDOUT:
        print(text)
        return results
    if json is not None:
        try:
            atomic_write(json, text + "\n")
        except OSError as error:
            raise UserError(
                f"--json {json} cannot be written: {error.strerror}. Pass another file."
            ) from error
    _print(results, images)
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
    names = [name.strip() for name in run.split(",")]
    if not all(names):
        raise UserError(f"'{run}' has nothing before or after a comma. Join runs as in a,b,c.")
    for name in names:
        if not Path(name).exists():
            raise UserError(
                f"{name}: there is no such run. Pass the folder of a run of `test` or `validate`."
            )
    return [Path(name) for name in names]


def _common_file(folders: Sequence[Path]) -> str:
    """The first file of scores that all folders have."""
    missing = {name: [each for each in folders if not (each / name).is_file()] for name in FILES}
    for folder in folders:
        if all(folder in lacking for lacking in missing.values()):
            raise UserError(
                f"{folder} has no per-image scores ({' or '.join(FILES)}). Score its weights with `test`, "
                "and pass the folder of that run."
            )
    for name, lacking in missing.items():
        if not lacking:
            return name
    reasons = " and ".join(f"{lacking[0]} has no {name}" for name, lacking in missing.items())
    raise UserError(f"the runs cannot be compared: {reasons}. Score both in the same way.")


def _print(results: Sequence[Comparison], images: int) -> None:
    from rich.console import Console

    from vocseg.visualization.tables import difference_tables

    for k, each in enumerate(results):
        Console().print(difference_tables(each, chr(ord("B") + k) if k < 25 else f"B{k + 1}", images))
