"""SBD's archive: MATLAB files of masks, turned into palette PNGs."""

import io
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from vocseg import voc
from vocseg.data.download.unpacking import members, opened
from vocseg.data.writing import save_mask
from vocseg.errors import UserError, shown

Bytes = npt.NDArray[np.uint8]

_ROOM = PurePosixPath("benchmark_RELEASE/dataset")


def convert(archive: Path, folder: Path, skip: set[str]) -> set[str]:
    """Write the masks of an archive as PNGs, without unpacking it.

    Args:
        archive: The right `benchmark.tgz`.
        folder: An existing, empty folder for `ID.png`.
        skip: Ids whose masks are not wanted.

    Returns:
        The ids of SBD's own two lists.

    Raises:
        UserError: If the archive is not laid out as it should be, or a mask in it is malformed.
    """
    lists: dict[str, set[str]] = {}
    with opened(archive, "converting masks") as tar:
        for member in members(tar, archive, folder):
            path = PurePosixPath(member.name)
            if not member.isfile() or _ROOM not in (path.parent, path.parent.parent):
                continue
            content = tar.extractfile(member)
            assert content is not None  # it is a file
            if path.parent == _ROOM and path.name in ("train.txt", "val.txt"):
                lists[path.stem] = set(content.read().decode(errors="replace").split())
            elif path.parent == _ROOM / "cls" and path.suffix == ".mat" and path.stem not in skip:
                mask = read_mat(content.read(), f"{member.name} of {archive}")
                save_mask(mask, folder / f"{path.stem}.png")
    if lists.keys() != {"train", "val"}:
        raise UserError(f"{archive} has no {_ROOM}/train.txt and val.txt: it is not SBD's archive")
    return lists["train"] | lists["val"]


def read_mat(content: bytes, name: str) -> Bytes:
    """The mask uint8 `[H,W]` of classes 0..20 in one of SBD's files; they know no void.

    Args:
        content: The file's bytes.
        name: What to call it in a complaint.

    Raises:
        UserError: If it is no MATLAB file, or holds something else.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(io.BytesIO(content), variable_names=["GTcls"])
        mask = np.asarray(found["GTcls"][0]["Segmentation"][0])
    except Exception as fault:  # damaged files make scipy raise nearly anything
        raise UserError(
            f"{name} is not a mask of SBD ({type(fault).__name__}: {shown(fault)}): get the archive anew"
        ) from fault
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size or mask.max() >= len(voc.CLASSES):
        most = mask.max() if mask.size and np.issubdtype(mask.dtype, np.number) else "nothing"
        raise UserError(
            f"{name} holds {shown(mask.dtype)} {list(mask.shape)} with values up to {most}, "
            f"not uint8 [H,W] of classes 0..{len(voc.CLASSES) - 1}: get the archive anew"
        )
    return mask
