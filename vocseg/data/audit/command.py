"""`audit`: checks a data set."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from vocseg.data.audit.duplicates import find_duplicates
from vocseg.data.audit.files import check_image, check_mask, compare_pair
from vocseg.data.audit.findings import DatasetScan, FileRecord, Finding
from vocseg.data.audit.lists import find_overlaps, read_splits, scores, trains
from vocseg.data.audit.report import Audit, check_classes, distribution, print_summary
from vocseg.data.classes import ClassList, known_classes
from vocseg.data.fingerprint import cache_folder, write_contents, write_manifest
from vocseg.data.splits import Split
from vocseg.data.voc import Layout, find_set
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.progress import follow, in_threads


def audit(
    root: Path = Path("data"),
    report: Path | None = None,
    classes: Path | None = None,
    image_folder: str = "JPEGImages",
    image_suffix: str | None = None,
    mask_folder: str | None = None,
    mask_suffix: str = ".png",
    mask_values: list[int] | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> Audit:
    """Check every split, image and mask of a data set.

    Prints the findings, the class distribution and the fingerprint of each split. Writes a report, and a
    manifest of the valid files with which later runs detect changes. The data set is not modified. The exit
    code is 1 if there are faults.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; may be given without `--root`.
        report: Report file (JSON); null: `audit.json` beside the manifest.
        classes: Class list, one name per line or YAML; null: VOC's 21 classes.
        image_folder: Folder of the images within `VOC2012`.
        image_suffix: Suffix of the images; null: any.
        mask_folder: Folder of the masks; null: SegmentationClass (for `trainaug`, SegmentationClassAug).
        mask_suffix: Suffix that follows the id in a mask's file name.
        mask_values: Value of each class in the masks, in the order of `classes`; null: as in `classes`,
            else 0, 1, 2, ...
        cache: Folder of the manifest and other derived files; null: `.vocseg` within the data set, or the
            user's cache folder if that is read-only.
        progress: Show a progress bar.

    Raises:
        UserError: If there is no data set, or an output cannot be written.
    """
    layout = _layout(root, Layout(Path(), image_folder, image_suffix, mask_folder, mask_suffix))
    known = known_classes(classes, mask_values)
    cache = cache_folder(layout.folder, cache)
    report = report or cache / "audit.json"
    splits, findings = read_splits(layout, known)
    scan, faults = _scan(layout, splits, known, progress)
    wrong = {finding.file for finding in faults}
    contents = {each.name: each.content for each in scan.files if each.content and each.name not in wrong}
    write_contents(cache, contents)
    write_manifest(cache, contents)
    findings += [*faults, *find_overlaps(splits), *find_duplicates(splits, scan.images)]
    training = [each for each in splits if trains(each)] or [each for each in splits if not scores(each)]
    for split in training:
        if all(each is not None and each.name in contents for pair in scan.pairs(split) for each in pair):
            findings += check_classes(split, cache)
    shown = tuple(distribution(each, scan) for each in splits)
    result = Audit(len(scan.files), tuple(sorted(set(findings))), shown, known)
    atomic_write(report, result.to_json())
    print_summary(result, layout, cache, report)
    return result


def _layout(root: Path, naming: Layout) -> Layout:
    folder = find_set(root, naming.image_folder)
    if folder is None:
        raise UserError(
            f"no data set in {shown(root, 200)}. Pass the folder that holds VOCdevkit/VOC2012, or download "
            "VOC with `python -m vocseg download`."
        )
    if naming.image_suffix is not None and not naming.image_suffix.startswith("."):
        raise UserError(f"--image_suffix {naming.image_suffix} has no dot. Pass .{naming.image_suffix}.")
    return replace(naming, folder=folder)


def _locate(
    layout: Layout, splits: Sequence[Split]
) -> tuple[dict[str, Path], dict[str, Path], list[Finding]]:
    """Return images by id, masks by name, and which are missing or ambiguous."""
    images, masks, faults = dict[str, Path](), dict[str, Path](), list[Finding]()
    remedy = "restore it, or remove its id from the splits"
    for id in sorted({id for split in splits for id in split.ids}):
        path, *others = layout.images(id)
        if others:
            text = f"{path.name} has the same id: remove one, or set the suffix with --data.image_suffix"
            faults.append(Finding(layout.name(others[0]), "image-twice", text))
        elif os.path.lexists(path):
            images[id] = path
        else:
            faults.append(Finding(layout.name(path), "image-missing", remedy))
    for split in splits:
        for path in (layout.mask(id, split.name) for id in split.ids):
            if os.path.lexists(path):
                masks[layout.name(path)] = path
            elif not split.name.startswith("test"):  # VOC's test masks are not public
                faults.append(Finding(layout.name(path), "mask-missing", remedy))
    folders = sorted({layout.image_folder, *(layout.masks_of(split.name) for split in splits)})
    for folder in (name for name in folders if not (layout.folder / name).is_dir()):
        faults = [each for each in faults if not each.file.startswith(f"{folder}/")]
        faults.append(Finding(folder, "folder-missing", "restore it from the archive"))
    return images, masks, faults


def _scan(
    layout: Layout, splits: Sequence[Split], classes: ClassList, progress: bool
) -> tuple[DatasetScan, list[Finding]]:
    """Read every image and mask of the splits once, with all cores. Return records and faults."""
    images, masks, faults = _locate(layout, splits)
    jobs: list[Callable[[], FileRecord]] = [
        *(partial(check_image, path, layout.name(path)) for path in images.values()),
        *(partial(check_mask, path, name, classes) for name, path in masks.items()),
    ]
    with warnings.catch_warnings(action="ignore"):  # reported as findings
        done = in_threads(lambda job: job(), jobs)
        records = list(follow(done, "checking files", len(jobs), progress))
    by_name = dict(zip(masks, records[len(images) :], strict=True))
    scan = DatasetScan(dict(zip(images, records, strict=False)), by_name)
    faults += [finding for each in records for finding in each.findings]
    # Splits may share images; pairs with a mask take precedence.
    pairs = [pair for split in splits for pair in scan.pairs(split)]
    sizes = dict[str, Finding]()
    for image, mask in sorted(pairs, key=lambda pair: pair[1] is None or pair[1].size is None):
        for finding in compare_pair(image, mask) if image else ():
            sizes.setdefault(finding.file, finding)
    return scan, [*faults, *sizes.values()]
