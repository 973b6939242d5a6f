"""SBD, the masks that make VOC's 1,464 training images 10,582: the list `trainaug`."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vocseg import voc
from vocseg.data.download.archive import Archive
from vocseg.data.download.leak import Content, check_leak, contents
from vocseg.data.download.patience import USUAL, Patience
from vocseg.data.download.place import alone_in, check_room
from vocseg.data.download.sbd_archive import convert
from vocseg.data.download.voc2012 import download_voc
from vocseg.errors import UserError
from vocseg.whole_files import write_whole


def download_sbd(
    root: Path = Path("data"),
    sources: Sequence[str] = voc.SBD_SOURCES,
    archive: Path | None = None,
    patience: Patience = USUAL,
) -> Path:
    """Get SBD (1.4 GB) and add `SegmentationClassAug/` and the list `trainaug` to VOC 2012.

    The list is SBD's images and VOC's training images, less VOC's validation images, sorted; where VOC has a
    mask of its own, that one is taken.

    Args:
        root: Folder that holds VOC 2012; VOC is fetched first if it is missing.
        sources: Addresses of the archive, asked in order.
        archive: The archive on this machine; None: one that lies in `root`, else it is fetched.
        patience: When a source is given up.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If the archive is not to be had or malformed, it cannot be stored, an image is missing or
            not of its mask's size, or a validation image would be trained on.
    """
    there = voc.find(root)
    if there is None or not _is_there(there):
        _official().local(root, archive)  # what is no file is refused before anything is written
    folder = there or download_voc(root, patience=patience)
    if not _is_there(folder):
        with alone_in(root):
            if not _mended(folder):
                return _install(root, folder, sources, archive, patience)
    print(f"trainaug is there already: {voc.split_list(folder, 'trainaug')}")
    return folder


def _masks(folder: Path) -> Path:
    return voc.mask_path(folder, "", "trainaug").parent


def _pending(folder: Path) -> Path:
    """The whole list, which gets its name last."""
    return voc.split_list(folder, "trainaug").with_suffix(".part")


def _is_there(folder: Path) -> bool:
    return voc.split_list(folder, "trainaug").is_file() and _masks(folder).is_dir()


def _mended(folder: Path) -> bool:
    """Whether list and masks stand, after finishing what was stopped at its last step."""
    listed, masks = voc.split_list(folder, "trainaug"), _masks(folder)
    if masks.is_dir() and not listed.exists() and _pending(folder).is_file():
        _pending(folder).replace(listed)
    if masks.exists() != listed.exists():  # nothing of ours: to be overwritten by nobody
        here, gone = (masks, listed) if masks.exists() else (listed, masks)
        raise UserError(f"{here} is there without {gone}: move it away to have both made, or restore them")
    return listed.exists()


def _official() -> Archive:
    return Archive("SBD", "sbd", voc.SBD_ARCHIVE, voc.SBD_MD5, voc.SBD_BYTES)


def _install(
    root: Path, folder: Path, sources: Sequence[str], given: Path | None, patience: Patience
) -> Path:
    archive = _official()
    check_room(root, archive.title, archive.to_fetch(root, given), voc.SBD_UNPACKED_BYTES)
    path = archive.obtain(root, sources, given, patience)
    part = folder / ".SegmentationClassAug.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        ids = _write_masks(path, folder, part)
        _prove(folder, part, ids)
        write_whole(_pending(folder), "\n".join(ids) + "\n")
        part.rename(_masks(folder))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _pending(folder).replace(voc.split_list(folder, "trainaug"))
    archive.discard(root)
    return folder


def _write_masks(archive: Path, folder: Path, part: Path) -> list[str]:
    """One mask for each id of the list, which is returned."""
    val = set(voc.split_ids(folder, "val"))
    official = {path.stem: path for path in (folder / "SegmentationClass").glob("*.png")}
    sbd = convert(archive, part, skip=val | official.keys())
    ids = sorted((sbd | set(voc.split_ids(folder, "train"))) - val)
    if len(ids) != voc.SBD_TRAINAUG:
        raise UserError(f"SBD and VOC give {len(ids):,} ids, not {voc.SBD_TRAINAUG:,}: one is not official")
    for id in official.keys() & set(ids):
        shutil.copyfile(official[id], part / f"{id}.png")
    unlisted = {path.stem for path in part.iterdir()} - set(ids)
    for id in unlisted:
        (part / f"{id}.png").unlink()
    return ids


def _prove(folder: Path, part: Path, ids: list[str]) -> None:
    """Look at every image: it must be there, fit its mask, and be none of the validation images."""
    val = voc.split_ids(folder, "val")
    shown = contents(folder, [*ids, *val])
    for id in ids:
        _check_mask(part / f"{id}.png", shown[id])
    check_leak(shown, ids, val)
    print(f"trainaug: {len(ids):,} images; none of val's {len(val):,} among them, by id and by content")


def _check_mask(path: Path, shown: Content) -> None:
    if not path.is_file():
        raise UserError(f"neither SBD nor VOC has a mask for the image {path.stem}: get both archives anew")
    with Image.open(path) as mask:
        if mask.size != (shown.width, shown.height):
            raise UserError(
                f"SBD's mask of {path.stem} is {mask.width}x{mask.height} pixels, but its image is "
                f"{shown.width}x{shown.height}: restore JPEGImages/{path.stem}.jpg from the official archive"
            )
