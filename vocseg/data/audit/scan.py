"""One pass over all files of a data set."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from PIL import Image

from vocseg.data.audit.checks_images import compare_pair, see_photograph
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.checks_masks import see_mask
from vocseg.data.audit.file_record import FileRecord
from vocseg.data.audit.findings import Finding
from vocseg.data.classes import ClassList
from vocseg.data.voc import Layout
from vocseg.utils.progress import follow


@dataclass(frozen=True)
class DatasetScan:
    """What was seen of every file that is there.

    Attributes:
        images: By id.
        masks: By path within the `VOC2012` folder.
        pairs: What is wrong between images and masks.
    """

    images: Mapping[str, FileRecord]
    masks: Mapping[str, FileRecord]
    pairs: tuple[Finding, ...]

    @property
    def files(self) -> list[FileRecord]:
        """All of them, by name."""
        return sorted([*self.images.values(), *self.masks.values()], key=lambda seen: seen.name)

    @property
    def sound(self) -> list[FileRecord]:
        """Those that a run would take."""
        wrong = {finding.file for finding in self.pairs}
        return [seen for seen in self.files if seen.sound and seen.name not in wrong]


def survey(
    layout: Layout, lists: Sequence[SplitList], classes: ClassList, progress: bool = True
) -> DatasetScan:
    """Read every image and every mask that a list names once, with all cores.

    Args:
        layout: Where they lie.
        lists: What names them.
        classes: What the masks may hold.
        progress: Show a progress bar.
    """
    ids = sorted({id for each in lists for id in each.ids})
    mask_of = {(each.split, id): layout.mask(id, each.split) for each in lists for id in each.ids}
    masks = sorted({path for path in mask_of.values() if os.path.isfile(path)})
    found = {id: layout.images(id) for id in ids}  # two for one id are a fault of the folder
    photographs = [id for id, paths in found.items() if len(paths) == 1 and os.path.isfile(paths[0])]
    named = [(path, layout.name(path)) for path in (*(found[id][0] for id in photographs), *masks)]
    jobs: list[Callable[[], FileRecord]] = [
        *(partial(see_photograph, *each) for each in named[: len(photographs)]),
        *(partial(see_mask, *each, classes) for each in named[len(photographs) :]),
    ]
    seen = _run(jobs, progress)
    images = dict(zip(photographs, seen, strict=False))
    by_name = {each.name: each for each in seen[len(photographs) :]}
    pairs = [
        (images[id], by_name.get(layout.name(mask_of[split, id])))
        for split, id in sorted(mask_of)
        if id in images
    ]
    return DatasetScan(images, by_name, _compare(pairs))


def _compare(pairs: Sequence[tuple[FileRecord, FileRecord | None]]) -> tuple[Finding, ...]:
    """One finding a file, since several lists may name one pair; those that know a mask say more."""
    found: dict[str, Finding] = {}
    for image, mask in sorted(pairs, key=lambda pair: pair[1] is None or pair[1].size is None):
        for finding in compare_pair(image, mask):
            found.setdefault(finding.file, finding)
    return tuple(found.values())


def _run(jobs: Sequence[Callable[[], FileRecord]], progress: bool) -> list[FileRecord]:
    """Decoding and hashing leave Python's lock, so threads use every core."""
    Image.init()  # before the threads, which would all do it
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # what PIL warns of is found and named
        done = pool.map(lambda job: job(), jobs)
        try:
            return list(follow(done, "examining the data", len(jobs), progress))
        finally:
            pool.shutdown(cancel_futures=True)
