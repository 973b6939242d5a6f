"""One pass over all files of a data set."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from PIL import Image

from vocseg.data.audit.checks_images import check_image, compare_pair
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.checks_masks import check_mask
from vocseg.data.audit.findings import FileRecord, Finding
from vocseg.data.classes import ClassList
from vocseg.data.voc import Layout
from vocseg.utils.progress import follow


@dataclass(frozen=True)
class DatasetScan:
    """Records of all files.

    Attributes:
        images: Records by id.
        masks: Records by path within the `VOC2012` folder.
        pairs: Findings between images and masks.
    """

    images: Mapping[str, FileRecord]
    masks: Mapping[str, FileRecord]
    pairs: tuple[Finding, ...]

    @property
    def files(self) -> list[FileRecord]:
        """All records, sorted by name."""
        return sorted([*self.images.values(), *self.masks.values()], key=lambda seen: seen.name)

    @property
    def sound(self) -> list[FileRecord]:
        """Records without a fault."""
        wrong = {finding.file for finding in self.pairs}
        return [seen for seen in self.files if seen.sound and seen.name not in wrong]


def scan_files(
    layout: Layout, lists: Sequence[SplitList], classes: ClassList, progress: bool = True
) -> DatasetScan:
    """Read every image and mask of the splits once, with all cores.

    Args:
        layout: Location of the files.
        lists: All splits.
        classes: Classes of the masks.
        progress: Show a progress bar.
    """
    ids = sorted({id for each in lists for id in each.ids})
    mask_of = {(each.split, id): layout.mask(id, each.split) for each in lists for id in each.ids}
    masks = sorted({path for path in mask_of.values() if os.path.isfile(path)})
    paths = {id: layout.images(id) for id in ids}  # two for one id: reported as image-twice
    found = {id: each[0] for id, each in paths.items() if len(each) == 1 and os.path.isfile(each[0])}
    jobs: list[Callable[[], FileRecord]] = [
        *(partial(check_image, path, layout.name(path)) for path in found.values()),
        *(partial(check_mask, path, layout.name(path), classes) for path in masks),
    ]
    records = _run(jobs, progress)
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


def _run(jobs: Sequence[Callable[[], FileRecord]], progress: bool) -> list[FileRecord]:
    """Run in threads: decoding and hashing release the GIL."""
    Image.init()  # once, not in every thread
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # reported as findings
        done = pool.map(lambda job: job(), jobs)
        try:
            return list(follow(done, "checking files", len(jobs), progress))
        finally:
            pool.shutdown(cancel_futures=True)
