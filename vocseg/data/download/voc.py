"""Download of VOC 2012."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from vocseg.data import voc
from vocseg.data.download.archive import Archive, locked, unpack
from vocseg.errors import UserError


def download_voc(
    root: Path = Path("data"), sources: Sequence[str] = voc.SOURCES, archive: Path | None = None
) -> Path:
    """Download and unpack VOC 2012 train+val (2.0 GB), unless it exists.

    Args:
        root: Folder that gets `VOCdevkit/VOC2012`.
        sources: URLs of the archive, tried in order.
        archive: Local archive; None: one in `root`, else it is downloaded.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If no source has an archive with the right MD5, or it cannot be stored.
    """
    existing = voc.find(root)  # before the lock, as the folder may be read-only
    if existing is None:
        official = Archive("VOC 2012", "voc", voc.ARCHIVE, voc.ARCHIVE_MD5, voc.ARCHIVE_BYTES)
        official.local(root, archive)  # raises before anything is written
        with locked(root):
            existing = voc.find(root)  # again: another process may have installed it meanwhile
            if existing is None:
                return _install(official, root, sources, archive)
    print(f"VOC 2012 exists already: {existing}")
    return existing


def _install(official: Archive, root: Path, sources: Sequence[str], given: Path | None) -> Path:
    target = root / "VOCdevkit" / "VOC2012"
    if target.exists():
        raise UserError(f"{target} exists, but without ImageSets/Segmentation. Move it away.")
    archive = official.obtain(root, sources, given, unpacked=voc.ARCHIVE_BYTES)
    part = target.with_name(".VOC2012.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        unpack(archive, part)
        (part / "VOCdevkit" / "VOC2012").rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    official.discard(root)
    print(f"unpacked {target}")
    return target
