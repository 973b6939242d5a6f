"""`compare`: paired bootstrap comparison of scored runs."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vocseg.errors import UserError
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.metrics.run_groups import RunGroup, check_comparable
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.json_values import STDOUT, as_json

FILES = ("image_scores_original.npz", "image_scores_network.npz")  # the first that all runs have is compared
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
    """Say whether runs differ on the images that both were scored on, by how much, and how sure that is.

    `compare A B C` compares B with A, and C with A. Each is the folder of a run of `test` or `validate`, or a
    file of scores by image. Several seeds of one recipe are joined by commas and count as one:
    `compare old1,old2,old3 new1,new2,new3`.

    Args:
        runs: What to compare, A first; may be given without `--runs`, before all flags.
        json: File to write everything to, each image included; `-`: standard output, and nothing else there.
        images: How many of the images that changed most to show.
        num_bootstrap: Draws of the bootstrap.
        seed: Of the draws; the same seed gives the same figures.
        allow_different: Settings of prediction in which runs may differ: tta, windows, size.

    Returns:
        Each of the others compared with A.

    Raises:
        UserError: If a run has no scores by image, or was scored on other images or in another way.
    """
    if len(runs) < 2:
        raise UserError(f"compare needs two runs at least, and got {len(runs)}: `compare A B`")
    if not 100 <= num_bootstrap <= _MOST_RESAMPLES:
        raise UserError(f"--num_bootstrap {num_bootstrap}: take a number from 100 to {_MOST_RESAMPLES:,}")
    if images < 0 or seed < 0:
        raise UserError(f"--images {images} and --seed {seed} must not be negative")
    groups = read_groups(runs)
    check_comparable(groups, allow_different or ())
    results = [
        compare_groups(groups[0], other, num_bootstrap, seed, allow_different or ()) for other in groups[1:]
    ]
    if json == STDOUT:
        print(as_json({"comparisons": [each.as_dict() for each in results]}))
        return results
    if json is not None:
        _write(json, results)
    _print(results, images)
    if all(Path(run).is_dir() for run in runs):
        print(f"next     python -m vocseg report {' '.join(map(shlex.quote, runs))}")
    return results


def read_groups(runs: Sequence[str]) -> list[RunGroup]:
    """Read what was scored.

    Args:
        runs: Folders or files; those joined by commas are one group.

    Raises:
        UserError: If one has no scores by image, or no kind of score is in all folders.
    """
    paths = [[Path(run)] if Path(run).exists() else check_names(run) for run in runs]
    name = _common_file([path for group in paths for path in group])
    files = [[path / name if path.is_dir() else path for path in group] for group in paths]
    return [
        RunGroup(run, tuple(load_per_image_confusion(file) for file in group))
        for run, group in zip(runs, files, strict=True)
    ]


def check_names(run: str) -> list[Path]:
    """The folders or files of runs joined by commas.

    Raises:
        UserError: If one of them does not exist.
    """
    words = [word.strip() for word in run.split(",")]
    if not all(words):
        raise UserError(f"'{run}' has nothing before or after a comma: join runs as in a,b,c")
    for word in words:
        if not Path(word).exists():
            raise UserError(f"{word}: there is no such run; name the folder of a run of `test` or `validate`")
    return [Path(word) for word in words]


def _common_file(paths: Sequence[Path]) -> str:
    """The kind of score that all folders have."""
    folders = [path for path in paths if path.is_dir()]
    for folder in folders:
        if not any((folder / name).is_file() for name in FILES):
            raise UserError(
                f"{folder} has no scores by image ({' or '.join(FILES)}): score its weights with `test`, "
                "and name the folder that this makes"
            )
    for name in FILES:
        if all((folder / name).is_file() for folder in folders):
            return name
    lacking = {name: next(each for each in folders if not (each / name).is_file()) for name in FILES}
    raise UserError(
        " and ".join(f"{folder} has no {name}" for name, folder in lacking.items())
        + ": score both in the same way"
    )


def _write(path: Path, results: Sequence[Comparison]) -> None:
    text = as_json({"comparisons": [each.as_dict() for each in results]}) + "\n"
    try:
        atomic_write(path, text)
    except OSError as fault:
        raise UserError(f"--json {path} cannot be written ({fault.strerror}): name another file") from fault


def _print(results: Sequence[Comparison], images: int) -> None:
    from rich.console import Console

    from vocseg.visualization.difference_tables import difference_tables

    console = Console()
    for k, each in enumerate(results):
        console.print(difference_tables(each, chr(ord("B") + k) if k < 25 else f"B{k + 1}", images))
