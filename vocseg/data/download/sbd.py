"""Download of SBD and its conversion to palette masks."""

import hashlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from vocseg import constants
from vocseg.data import voc
from vocseg.data.download.archive import Archive, check_room, locked, members, opened
from vocseg.data.download.http import DEFAULT_POLICY, RetryPolicy
from vocseg.data.download.voc import download_voc
from vocseg.data.image_io import Bytes, read_image, save_mask
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.progress import follow, in_threads


class Content(NamedTuple):
    """SHA-256 of the decoded pixels and shape of an image, and its size."""

    digest: bytes
    height: int
    width: int


def contents(folder: Path, ids: Sequence[str]) -> dict[str, Content]:
    """Decode images with all cores.

    Raises:
        UserError: If one is missing or corrupt.
    """
    found = in_threads(lambda id: _content(voc.image_path(folder, id)), ids)
    return dict(zip(ids, follow(found, "comparing images", len(ids)), strict=True))


def check_leak(shown: dict[str, Content], training: Sequence[str], validation: Sequence[str]) -> None:
    """Compare two splits by id and by decoded pixels.

    Raises:
        UserError: If they share an image.
    """
    held_out = set(validation)
    owners = {shown[id].digest: id for id in validation}
    for id in training:
        if id in held_out:
            raise UserError(f"the training image {id} is in the validation split. Remove it.")
        duplicate = owners.get(shown[id].digest)
        if duplicate is not None:
            raise UserError(
                f"the training image {id} is a copy of the validation image {duplicate}. "
                "Restore it from the official archive."
            )


def _content(path: Path) -> Content:
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    shape = f"{height}x{width}:".encode()  # images of different shapes may have the same bytes
    return Content(hashlib.sha256(shape + pixels.tobytes()).digest(), height, width)


_BASE = PurePosixPath("benchmark_RELEASE/dataset")


def convert(archive: Path, folder: Path, skip: set[str]) -> set[str]:
    """Write the masks of `benchmark.tgz` as `ID.png`, without those to `skip`.

    Returns:
        The ids of SBD's two splits.

    Raises:
        UserError: If the archive has another layout, or a mask in it is malformed.
    """
    splits: dict[str, set[str]] = {}
    with opened(archive, "converting masks") as tar:
        for member in members(tar, archive, folder):
            path = PurePosixPath(member.name)
            if not member.isfile() or _BASE not in (path.parent, path.parent.parent):
                continue
            content = tar.extractfile(member)
            assert content is not None  # it is a file
            if path.parent == _BASE and path.name in ("train.txt", "val.txt"):
                splits[path.stem] = set(content.read().decode(errors="replace").split())
            elif path.parent == _BASE / "cls" and path.suffix == ".mat" and path.stem not in skip:
                mask = read_mat(content.read(), f"{member.name} of {archive}")
                save_mask(mask, folder / f"{path.stem}.png")
    if splits.keys() != {"train", "val"}:
        raise UserError(
            f"{archive} has no {_BASE}/train.txt and val.txt: it is not SBD's archive. Get it again."
        )
    return splits["train"] | splits["val"]


def read_mat(content: bytes, name: str) -> Bytes:
    """Read the mask uint8 `[H,W]` of classes 0..20 in a file of SBD, which have no ignored pixels.

    Raises:
        UserError: If it is no MATLAB file, or holds something else.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(io.BytesIO(content), variable_names=["GTcls"])
        mask = np.asarray(found["GTcls"][0]["Segmentation"][0])
    except Exception as error:  # scipy raises nearly anything on corrupt files
        raise UserError(
            f"{name} is not a mask of SBD: {type(error).__name__}: {shown(error)}. Get the archive again."
        ) from error
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size or mask.max() >= len(constants.CLASSES):
        most = mask.max() if mask.size and np.issubdtype(mask.dtype, np.number) else "nothing"
        raise UserError(
            f"{name} holds {shown(mask.dtype)} {list(mask.shape)} with values up to {most}, "
            f"not uint8 [H,W] of classes 0..{len(constants.CLASSES) - 1}. Get the archive again."
        )
    return mask


def download_sbd(
    root: Path = Path("data"),
    sources: Sequence[str] = voc.SBD_SOURCES,
    archive: Path | None = None,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Path:
    """Download SBD (1.4 GB) and add `SegmentationClassAug/` and the split `trainaug` to VOC 2012.

    The split is SBD's images and VOC's training images without VOC's validation images, sorted. VOC's own
    masks take precedence.

    Args:
        root: Folder that holds VOC 2012; VOC is downloaded first if it is missing.
        sources: URLs of the archive, tried in order.
        archive: Local archive; None: one in `root`, else it is downloaded.
        policy: Limits after which a source is given up.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If the archive is unavailable or malformed, it cannot be stored, an image is missing or
            not of its mask's size, or training and validation share an image.
    """
    existing = voc.find(root)
    if existing is None or not _is_installed(existing):
        _official().local(root, archive)  # raises before anything is written
    folder = existing or download_voc(root, policy=policy)
    if not _is_installed(folder):
        with locked(root):
            if not _completed(folder):
                return _install(root, folder, sources, archive, policy)
    print(f"trainaug exists already: {voc.split_list(folder, 'trainaug')}")
    return folder


def _masks(folder: Path) -> Path:
    return voc.mask_path(folder, "", "trainaug").parent


def _pending(folder: Path) -> Path:
    """The complete split file, renamed last."""
    return voc.split_list(folder, "trainaug").with_suffix(".part")


def _is_installed(folder: Path) -> bool:
    return voc.split_list(folder, "trainaug").is_file() and _masks(folder).is_dir()


def _completed(folder: Path) -> bool:
    """Return whether split and masks exist, after completing an interrupted last step."""
    listed, masks = voc.split_list(folder, "trainaug"), _masks(folder)
    if masks.is_dir() and not listed.exists() and _pending(folder).is_file():
        _pending(folder).replace(listed)
    if masks.exists() != listed.exists():  # not written by this command
        found, missing = (masks, listed) if masks.exists() else (listed, masks)
        raise UserError(f"{found} exists without {missing}. Move it away to create both, or restore them.")
    return listed.exists()


def _official() -> Archive:
    return Archive("SBD", "sbd", voc.SBD_ARCHIVE, voc.SBD_MD5, voc.SBD_BYTES)


def _install(
    root: Path, folder: Path, sources: Sequence[str], given: Path | None, policy: RetryPolicy
) -> Path:
    archive = _official()
    check_room(root, archive.title, archive.to_fetch(root, given), voc.SBD_UNPACKED_BYTES)
    path = archive.obtain(root, sources, given, policy)
    part = folder / ".SegmentationClassAug.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        ids = _write_masks(path, folder, part)
        _verify(folder, part, ids)
        atomic_write(_pending(folder), "\n".join(ids) + "\n")
        part.rename(_masks(folder))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _pending(folder).replace(voc.split_list(folder, "trainaug"))
    archive.discard(root)
    return folder


def _write_masks(archive: Path, folder: Path, part: Path) -> list[str]:
    """Write one mask for each id, and return the ids."""
    val = set(voc.split_ids(folder, "val"))
    official = {path.stem: path for path in (folder / "SegmentationClass").glob("*.png")}
    sbd = convert(archive, part, skip=val | official.keys())
    ids = sorted((sbd | set(voc.split_ids(folder, "train"))) - val)
    if len(ids) != voc.SBD_TRAINAUG:
        raise UserError(
            f"SBD and VOC give {len(ids):,} ids, not {voc.SBD_TRAINAUG:,}: one is not official. Replace it."
        )
    for id in official.keys() & set(ids):
        shutil.copyfile(official[id], part / f"{id}.png")
    unlisted = {path.stem for path in part.iterdir()} - set(ids)
    for id in unlisted:
        (part / f"{id}.png").unlink()
    return ids


def _verify(folder: Path, part: Path, ids: list[str]) -> None:
    """Check that every image exists, has its mask's size, and is not a validation image."""
    val = voc.split_ids(folder, "val")
    shown = contents(folder, [*ids, *val])
    for id in ids:
        _check_mask(part / f"{id}.png", shown[id])
    check_leak(shown, ids, val)
    print(f"trainaug: {len(ids):,} images; none of val's {len(val):,} among them, by id and by content")


def _check_mask(path: Path, shown: Content) -> None:
    if not path.is_file():
        raise UserError(f"neither SBD nor VOC has a mask for the image {path.stem}. Get both archives again.")
    with Image.open(path) as mask:
        if mask.size != (shown.width, shown.height):
            raise UserError(
                f"SBD's mask of {path.stem} is {mask.width}x{mask.height} pixels, but its image is "
                f"{shown.width}x{shown.height}. Restore that image from the official archive."
            )
