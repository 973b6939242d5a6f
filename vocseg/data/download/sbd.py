"""Download of SBD and its conversion to palette masks."""

import io
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vocseg.data import voc
from vocseg.data.download.archive import Archive, locked
from vocseg.data.download.voc import download_voc
from vocseg.data.image_io import Bytes, save_mask
from vocseg.errors import UserError
from vocseg.utils.atomic_write import atomic_write


def download_sbd(
    root: Path = Path("data"), sources: Sequence[str] = voc.SBD_SOURCES, archive: Path | None = None
) -> Path:
    """Download SBD (1.4 GB) and add `SegmentationClassAug/` and the split `trainaug` to VOC 2012.

    The split is SBD's images and VOC's training images without VOC's validation images, sorted. VOC's own
    masks take precedence.

    Args:
        root: Folder that holds VOC 2012; VOC is downloaded first if it is missing.
        sources: URLs of the archive, tried in order.
        archive: Local archive; None: one in `root`, else it is downloaded.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If no source has an archive with the right MD5, VOC's lists are not the official ones, or
            the masks cannot be stored.
    """
    official = Archive("SBD", "sbd", voc.SBD_ARCHIVE, voc.SBD_MD5, voc.SBD_BYTES)
    existing = voc.find(root)
    if existing is None or not _is_installed(existing):
        official.local(root, archive)  # raises before anything is written
    folder = existing or download_voc(root)
    if not _is_installed(folder):
        with locked(root):
            if not _is_installed(folder):
                return _install(official, root, folder, sources, archive)
    print(f"trainaug exists already: {voc.split_list(folder, 'trainaug')}")
    return folder


def _masks(folder: Path) -> Path:
    return voc.mask_path(folder, "", "trainaug").parent


def _is_installed(folder: Path) -> bool:
    return voc.split_list(folder, "trainaug").is_file() and _masks(folder).is_dir()


def _install(official: Archive, root: Path, folder: Path, sources: Sequence[str], given: Path | None) -> Path:
    for path in (_masks(folder), voc.split_list(folder, "trainaug")):
        if path.exists():
            raise UserError(f"{path} exists, but not both masks and list of trainaug. Move it away.")
    archive = official.obtain(root, sources, given, unpacked=voc.SBD_UNPACKED_BYTES)
    part = folder / ".SegmentationClassAug.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        ids = _write_masks(archive, folder, part)
        part.rename(_masks(folder))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    atomic_write(voc.split_list(folder, "trainaug"), "\n".join(ids) + "\n")
    official.discard(root)
    print(f"trainaug: {len(ids):,} images; none of them is in val")
    return folder


def _write_masks(archive: Path, folder: Path, part: Path) -> list[str]:
    """Write one mask for each id, and return the ids."""
    train, val = voc.split_ids(folder, "train"), set(voc.split_ids(folder, "val"))
    for id in train:
        shutil.copyfile(voc.mask_path(folder, id, "train"), part / f"{id}.png")
    ids = set(train)
    for id, mask in read_masks(archive, skip=ids | val):
        save_mask(mask, part / f"{id}.png")
        ids.add(id)
    if len(ids) != voc.SBD_TRAINAUG:
        raise UserError(
            f"SBD and VOC give {len(ids):,} ids, not {voc.SBD_TRAINAUG:,}: VOC's lists are not the official "
            "ones. Restore them."
        )
    return sorted(ids)


def read_masks(archive: Path, skip: set[str]) -> Iterator[tuple[str, Bytes]]:
    """Yield ids and masks uint8 `[H,W]` of classes 0..20 in SBD's archive, without those to skip."""
    import rich.progress
    from scipy.io import loadmat

    with (
        rich.progress.open(archive, "rb", description="converting masks") as file,
        tarfile.open(fileobj=file) as tar,
    ):
        for member in tar:
            path = PurePosixPath(member.name)
            if path.parent.name != "cls" or path.suffix != ".mat" or path.stem in skip:
                continue
            content = tar.extractfile(member)
            assert content is not None  # it is a file
            found = loadmat(io.BytesIO(content.read()), variable_names=["GTcls"])
            yield path.stem, np.asarray(found["GTcls"][0]["Segmentation"][0])
