"""Checks of split lists."""

import os
from collections import defaultdict
from collections.abc import Sequence

from vocseg.data.audit.findings import Finding
from vocseg.data.classes import ClassList
from vocseg.data.splits import Split
from vocseg.data.voc import Layout, read_ids, split_list
from vocseg.errors import UserError, some


def trains(split: Split) -> bool:
    """Return whether a split is for training, without the images of val."""
    return split.name.startswith("train") and not split.name.startswith("trainval")


def scores(split: Split) -> bool:
    """Return whether a split is for evaluation."""
    return split.name.startswith(("val", "test"))


def read_splits(layout: Layout, classes: ClassList) -> tuple[list[Split], list[Finding]]:
    """Read all valid splits, sorted by name, and the faults of the others.

    Without split files, the splits are the sub-folders of the images, or all pairs.
    """
    folder = split_list(layout.folder, "").parent
    if not folder.is_dir():
        ids = layout.pairs("")[0]
        if any("/" not in id for id in ids):
            return [_split(layout, "all", ids, classes)], []
        parts: dict[str, list[str]] = defaultdict(list)
        for id in ids:
            parts[id.partition("/")[0]].append(id)
        return [_split(layout, top, parts[top], classes) for top in sorted(parts)], []
    splits, found = list[Split](), list[Finding]()
    for path in sorted(folder.glob("*.txt")):
        try:
            splits.append(_split(layout, path.stem, read_ids(path), classes))
        except UserError as error:
            text = error.sentence.replace(str(path), path.name)
            found.append(Finding(layout.name(path), "list-invalid", f"{text} (its images are not checked)"))
    missing = [split for split in ("train", "val") if not os.path.lexists(split_list(layout.folder, split))]
    if len(missing) == 1:
        text = (
            "restore it, pass another with --data.train_split or --data.val_split, or split at random with "
            "--data.val_fraction 0.2"
        )
        found.append(Finding(layout.name(split_list(layout.folder, missing[0])), "list-missing", text))
    return splits, found


def _split(layout: Layout, name: str, ids: Sequence[str], classes: ClassList) -> Split:
    return Split(layout, name, tuple(ids), classes)


def find_overlaps(splits: Sequence[Split]) -> list[Finding]:
    """Find ids that are in a training and in an evaluation split."""
    found = []
    for scored in filter(scores, splits):
        for trained in filter(trains, splits):
            shared = sorted(set(scored.ids) & set(trained.ids))
            if shared:
                file = trained.layout.name(split_list(trained.layout.folder, trained.name))
                text = f"{len(shared):,} of its images are also in {scored.name}: {some(shared)}"
                found.append(Finding(file, "list-overlap", text))
    return found
