"""Gets the VOC 2012 archive and unpacks it whole or not at all."""

import hashlib
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from vocseg import voc
from vocseg.errors import UserError


def download_voc(root: Path = Path("data"), sources: Sequence[str] = voc.SOURCES) -> Path:
    """Get VOC 2012 train+val (2.0 GB) and unpack it; an archive that lies in the folder already is used.

    Args:
        root: Folder that gets `VOCdevkit/VOC2012`.
        sources: Addresses of the archive, tried in order.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If no source gives an archive with the right MD5, or there is no room for it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".download.lock"):  # a second terminal waits, then finds the work done
        there = voc.find(root)
        if there is not None:
            print(f"VOC 2012 is there already: {there}")
            return there
        _check_room(root)
        return _unpack(_fetch(root, sources), root)


def _check_room(root: Path) -> None:
    here = (root / voc.ARCHIVE).exists()
    needed, free = voc.ARCHIVE_BYTES * (1 if here else 2), shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"VOC 2012 needs {needed / 1e9:.1f} GB in {root}, but {free / 1e9:.1f} GB are free: "
            "make room, or name another folder with --data.root"
        )


def _fetch(root: Path, sources: Sequence[str]) -> Path:
    """The archive in `root`, from the first source whose bytes are right."""
    import pooch

    if (root / voc.ARCHIVE).is_file():
        return _proven(root / voc.ARCHIVE)
    print(f"fetching VOC 2012 ({voc.ARCHIVE_BYTES / 1e9:.1f} GB, unpacked the same again) into {root}")
    faults = []
    for source in sources:
        try:
            loader = pooch.HTTPDownloader(progressbar=True, timeout=30)
            fetched = pooch.retrieve(source, f"md5:{voc.ARCHIVE_MD5}", voc.ARCHIVE, root, downloader=loader)
            return Path(fetched)
        except (OSError, ValueError) as fault:  # the network's faults and a wrong checksum
            faults.append(f"{source}: {type(fault).__name__}")
    raise UserError(
        f"VOC 2012 could not be fetched ({'; '.join(faults)}): get {voc.ARCHIVE} (MD5 {voc.ARCHIVE_MD5}) by "
        f"other means, put it into {root} and run this again, or name a folder that holds VOC2012 "
        "with --data.root"
    )


def _proven(archive: Path) -> Path:
    """The same path, if its MD5 is right."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != voc.ARCHIVE_MD5:
        raise UserError(
            f"{archive} has MD5 {found}, not {voc.ARCHIVE_MD5}: it is incomplete or another file; remove it"
        )
    return archive


def _unpack(archive: Path, root: Path) -> Path:
    """Unpack beside the target, count, then rename."""
    from rich.progress import track

    part = root / ".unpacking"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in track(members, f"unpacking {archive.name}"):
                tar.extract(member, part, filter="data")
        target = root / "VOCdevkit" / "VOC2012"
        _count(part / "VOCdevkit" / "VOC2012")
        target.parent.mkdir(exist_ok=True)
        (part / "VOCdevkit" / "VOC2012").rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _count(folder: Path) -> None:
    """Say what was unpacked, and refuse less than the official numbers."""
    found = {split: len(voc.split_ids(folder, split)) for split in ("train", "val", "trainval")}
    found["images"] = sum(1 for _ in (folder / "JPEGImages").glob("*.jpg"))
    found["masks"] = sum(1 for _ in (folder / "SegmentationClass").glob("*.png"))
    if found != voc.COUNTS:
        raise UserError(f"the archive holds {found}, not {voc.COUNTS}: it is not the official one")
    print(", ".join(f"{number:,} {name}" for name, number in found.items()))
