"""Download of VOC 2012."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from vocseg.data import voc
from vocseg.data.download.archive import Archive, alone_in, check_room
from vocseg.data.download.retry import USUAL, RetryPolicy
from vocseg.data.download.unpack import unpack
from vocseg.errors import UserError


def download_voc(
    root: Path = Path("data"),
    sources: Sequence[str] = voc.SOURCES,
    archive: Path | None = None,
    patience: RetryPolicy = USUAL,
) -> Path:
    """Get VOC 2012 train+val (2.0 GB) and unpack it; what is there already is left alone.

    Args:
        root: Folder that gets `VOCdevkit/VOC2012`.
        sources: Addresses of the archive, asked in order.
        archive: The archive on this machine; None: one that lies in `root`, else it is fetched.
        patience: When a source is given up.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If no source gives an archive with the right MD5, or it cannot be stored.
    """
    there = voc.find(root)  # asked before the lock: a folder that cannot be written to may hold it
    if there is None:
        _official().local(root, archive)  # what is no file is refused before anything is written
        with alone_in(root):
            there = voc.find(root)  # asked again: perhaps another process was at it meanwhile
            if there is None:
                return _install(root, sources, archive, patience)
    images = sum(1 for _ in (there / "JPEGImages").glob("*.jpg"))
    other = images != voc.COUNTS["images"]
    hint = f" (with {images:,} images; the official set has {voc.COUNTS['images']:,})" if other else ""
    print(f"VOC 2012 is there already: {there}{hint}")
    return there


def _official() -> Archive:
    return Archive("VOC 2012", "voc", voc.ARCHIVE, voc.ARCHIVE_MD5, voc.ARCHIVE_BYTES)


def _install(root: Path, sources: Sequence[str], given: Path | None, patience: RetryPolicy) -> Path:
    archive = _official()
    target = root / "VOCdevkit" / "VOC2012"
    if target.exists():
        raise UserError(f"{target} is there, but without ImageSets/Segmentation: move it away")
    check_room(root, archive.title, archive.to_fetch(root, given), voc.ARCHIVE_BYTES)
    _unpack(archive.obtain(root, sources, given, patience), target)
    archive.discard(root)
    return target


def _unpack(archive: Path, target: Path) -> None:
    """Unpack beside the target, count, then rename."""
    part = target.with_name(".VOC2012.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        unpack(archive, part)
        said = _count(part / "VOCdevkit" / "VOC2012", archive)
        (part / "VOCdevkit" / "VOC2012").rename(target)
        print(f"{target}: {said}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _count(folder: Path, archive: Path) -> str:
    """What was unpacked, in words; anything but the official numbers is refused."""
    found = {split: len(voc.split_ids(folder, split)) for split in ("train", "val", "trainval")}
    found["images"] = sum(1 for _ in (folder / "JPEGImages").glob("*.jpg"))
    found["masks"] = sum(1 for _ in (folder / "SegmentationClass").glob("*.png"))
    if found != voc.COUNTS:
        raise UserError(f"{archive} holds {found}, not {voc.COUNTS}: it is not the official archive")
    ids = "/".join(f"{found[split]:,}" for split in ("train", "val", "trainval"))
    return f"{found['images']:,} images, {found['masks']:,} masks, {ids} ids (train/val/trainval)"
