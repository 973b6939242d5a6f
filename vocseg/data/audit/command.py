"""`audit`: checks a data set."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from vocseg.data.audit.checks_images import check_image, compare_pair, find_near_duplicates
from vocseg.data.audit.checks_lists import SplitList, compare_lists, examine_folders, read_lists
from vocseg.data.audit.checks_masks import check_mask
from vocseg.data.audit.findings import DatasetScan, FileRecord, Finding
from vocseg.data.audit.repair import check_target, repair_masks
from vocseg.data.audit.report import Audit, distribution, examine_classes, print_repair, print_summary
from vocseg.data.classes import ClassList, known_classes
from vocseg.data.fingerprint import cache_folder, write_contents, write_manifest
from vocseg.data.voc import Layout, find_set
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.progress import follow, in_threads


def audit(
    root: Path = Path("data"),
    report: Path | None = None,
    repair: Path | None = None,
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
        repair: New folder for a copy in which masks of the palette's colours (RGB, RGBA, grey, or another
            palette) are converted exactly; those that cannot be are named.
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
    if repair is not None:
        check_target(repair, layout.folder)
    known = known_classes(classes, mask_values)
    cache = cache_folder(layout.folder, cache)
    report = report or cache / "audit.json"
    lists = read_lists(layout)
    scan = _scan(layout, lists, known, progress)
    result = _combine(layout, lists, scan, known)
    _write(result, scan, cache, report)
    print_summary(result, layout, cache, report)
    if repair is not None:
        print_repair(repair_masks(layout.folder, repair, result.findings, known, progress), repair)
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


def _combine(layout: Layout, lists: Sequence[SplitList], seen: DatasetScan, classes: ClassList) -> Audit:
    """Combine the findings of splits, folders and files."""
    folders, unlisted = examine_folders(layout, lists)
    named = [each for each in lists if each.ids]
    shown = [distribution(each, seen, layout, classes) for each in named]
    training = [each for each in named if each.trains]
    training = training or [each for each in named if not each.scores]  # splits of other names
    findings = [
        *(finding for each in lists for finding in each.findings),
        *compare_lists(lists, layout),
        *folders,
        *(finding for each in seen.files for finding in each.findings),
        *seen.pairs,
        *find_near_duplicates(lists, seen.images),
        *(
            finding
            for each, found in zip(named, shown, strict=True)
            if each in training and found.fingerprint is not None and not _unsound(each, seen, layout)
            for finding in examine_classes(each, found, classes)
        ),
    ]
    return Audit(len(seen.files), unlisted, tuple(sorted(set(findings))), tuple(shown), classes)


def _unsound(each: SplitList, seen: DatasetScan, layout: Layout) -> bool:
    """Return whether a mask of a split has a fault, so that its classes are unreliable."""
    masks = (seen.masks.get(layout.name(layout.mask(id, each.split))) for id in each.ids)
    return any(mask is None or not mask.sound for mask in masks)


def _write(result: Audit, seen: DatasetScan, cache: Path, report: Path) -> None:
    """Write the report, the manifest, and the digests that later runs reuse."""
    contents = {each.name: each.content for each in seen.sound if each.content is not None}
    try:
        atomic_write(report, result.to_json())
        write_contents(cache, contents)
        write_manifest(cache, contents)
    except OSError as error:
        raise UserError(
            f"the report {report} and the manifest in {cache} cannot both be written: {error.strerror}. "
            "Pass other paths with --report and --cache."
        ) from error


def _scan(
    layout: Layout, lists: Sequence[SplitList], classes: ClassList, progress: bool = True
) -> DatasetScan:
    """Read every image and mask of the splits once, with all cores."""
    ids = sorted({id for each in lists for id in each.ids})
    mask_of = {(each.split, id): layout.mask(id, each.split) for each in lists for id in each.ids}
    masks = sorted({path for path in mask_of.values() if os.path.isfile(path)})
    paths = {id: layout.images(id) for id in ids}  # two for one id: reported as image-twice
    found = {id: each[0] for id, each in paths.items() if len(each) == 1 and os.path.isfile(each[0])}
    jobs: list[Callable[[], FileRecord]] = [
        *(partial(check_image, path, layout.name(path)) for path in found.values()),
        *(partial(check_mask, path, layout.name(path), classes) for path in masks),
    ]
    Image.init()  # once, not in every thread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported as findings
        done = in_threads(lambda job: job(), jobs)
        records = list(follow(done, "checking files", len(jobs), progress))
    images = dict(zip(found, records, strict=False))
    by_name = {each.name: each for each in records[len(found) :]}
    pairs = [
        (images[id], by_name.get(layout.name(path)))
        for (_, id), path in sorted(mask_of.items())
        if id in images
    ]
    return DatasetScan(images, by_name, _compare(pairs))


def _compare(pairs: Sequence[tuple[FileRecord, FileRecord | None]]) -> tuple[Finding, ...]:
    """One finding per file, as splits may share pairs; pairs with a mask take precedence."""
    found: dict[str, Finding] = {}
    for image, mask in sorted(pairs, key=lambda pair: pair[1] is None or pair[1].size is None):
        for finding in compare_pair(image, mask):
            found.setdefault(finding.file, finding)
    return tuple(found.values())
