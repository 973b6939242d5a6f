"""Download of VOC 2012."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from vocseg.data import voc
from vocseg.data.download.archive import Archive, check_room, locked, unpack
from vocseg.data.download.http import DEFAULT_POLICY, RetryPolicy
from vocseg.errors import UserError


def download_voc(
    root: Path = Path("data"),
    sources: Sequence[str] = voc.SOURCES,
    archive: Path | None = None,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Path:
    """Download and unpack VOC 2012 train+val (2.0 GB), unless it exists.

    Args:
        root: Folder that gets `VOCdevkit/VOC2012`.
        sources: URLs of the archive, tried in order.
        archive: Local archive; None: one in `root`, else it is downloaded.
        policy: Limits after which a source is given up.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If no source has an archive with the right MD5, or it cannot be stored.
    """
    existing = voc.find(root)  # before the lock, as the folder may be read-only
    if existing is None:
        _official().local(root, archive)  # raises before anything is written
        with locked(root):
            existing = voc.find(root)  # again: another process may have installed it meanwhile
            if existing is None:
                return _install(root, sources, archive, policy)
    images = sum(1 for _ in (existing / "JPEGImages").glob("*.jpg"))
    other = images != voc.COUNTS["images"]
    hint = f" (with {images:,} images; the official set has {voc.COUNTS['images']:,})" if other else ""
    print(f"VOC 2012 exists already: {existing}{hint}")
    return existing


def _official() -> Archive:
    return Archive("VOC 2012", "voc", voc.ARCHIVE, voc.ARCHIVE_MD5, voc.ARCHIVE_BYTES)


def _install(root: Path, sources: Sequence[str], given: Path | None, policy: RetryPolicy) -> Path:
    archive = _official()
    target = root / "VOCdevkit" / "VOC2012"
    if target.exists():
        raise UserError(f"{target} exists, but without ImageSets/Segmentation. Move it away.")
    check_room(root, archive.title, archive.to_fetch(root, given), voc.ARCHIVE_BYTES)
    _unpack(archive.obtain(root, sources, given, policy), target)
    archive.discard(root)
    return target


def _unpack(archive: Path, target: Path) -> None:
    part = target.with_name(".VOC2012.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        unpack(archive, part)
        counts = _count(part / "VOCdevkit" / "VOC2012", archive)
        (part / "VOCdevkit" / "VOC2012").rename(target)
        print(f"{target}: {counts}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _count(folder: Path, archive: Path) -> str:
    """Numbers of files and ids, which must be the official ones."""
    found = {split: len(voc.split_ids(folder, split)) for split in ("train", "val", "trainval")}
    found["images"] = sum(1 for _ in (folder / "JPEGImages").glob("*.jpg"))
    found["masks"] = sum(1 for _ in (folder / "SegmentationClass").glob("*.png"))
    if found != voc.COUNTS:
        raise UserError(
            f"{archive} holds {found}, not {voc.COUNTS}: it is not the official archive. Get it again."
        )
    ids = "/".join(f"{found[split]:,}" for split in ("train", "val", "trainval"))
    return f"{found['images']:,} images, {found['masks']:,} masks, {ids} ids (train/val/trainval)"
