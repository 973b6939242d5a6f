"""Repair of the masks that an audit finds fault with."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.constants import PALETTE
from vocseg.data.audit.checks_masks import REPAIRABLE, NotExactError, recover
from vocseg.data.audit.findings import Finding
from vocseg.data.classes import ClassList
from vocseg.data.mask_png import save_mask
from vocseg.errors import UserError
from vocseg.utils.progress import follow


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Attributes:
        converted: The masks that were converted, by path within the `VOC2012` folder.
        refused: Why the others were not, by the same.
    """

    converted: tuple[str, ...]
    refused: dict[str, str]


def check_target(out: Path, voc: Path) -> None:
    """Refuse a place where a repaired copy cannot go, before any work.

    Raises:
        UserError: If it exists, or lies within the data set.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"--repair {out} exists already: name a folder that does not, nothing is overwritten")
    if out.resolve().is_relative_to(voc.resolve()):
        raise UserError(f"--repair {out} lies within the data set {voc}: name a folder outside it")


def repair_masks(
    voc: Path, out: Path, findings: Sequence[Finding], classes: ClassList, progress: bool = True
) -> Repair:
    """Write a copy of a data set in which every mask that can be is converted exactly.

    Args:
        voc: The `VOC2012` folder; it is not changed.
        out: The folder to hold `VOCdevkit/VOC2012`; written whole or not at all, only if a mask is converted.
        findings: Of an audit.
        classes: What the masks' colours mean.
        progress: Show a progress bar.

    Raises:
        UserError: If there is no room for a copy, or it cannot be written.
    """
    masks, refused = dict[str, npt.NDArray[np.uint8]](), dict[str, str]()
    for name in sorted({finding.file for finding in findings if finding.kind in REPAIRABLE}):
        try:
            with Image.open(voc / name) as picture:
                masks[name] = recover(picture, classes)
        except NotExactError as fault:
            refused[name] = str(fault)
    if masks:
        _write(voc, out, masks, classes, progress)
    return Repair(tuple(masks), refused)


def _write(
    voc: Path, out: Path, masks: dict[str, npt.NDArray[np.uint8]], classes: ClassList, progress: bool
) -> None:
    """Copy beside the target, put the masks in, then rename."""
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_room(voc, out)
        shutil.rmtree(part, ignore_errors=True)
        copy = part / "VOCdevkit" / "VOC2012"
        _copy(voc, copy, set(masks), progress)
        for name, mask in masks.items():
            _save(mask, copy / name, classes)
        part.rename(out)
    except OSError as fault:
        raise UserError(
            f"--repair {out} cannot be written ({fault.strerror}): name another folder"
        ) from fault
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy(voc: Path, copy: Path, but: set[str], progress: bool) -> None:
    """Copy files without their rights, which may forbid changes; links would tie the two sets together."""
    files = [path for path in sorted(voc.rglob("*")) if path.is_file()]
    for path in follow(files, "copying the rest", len(files), progress):
        name = path.relative_to(voc)
        if name.parts[0] != ".vocseg" and name.as_posix() not in but:  # what was derived from the old files
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / name)


def _save(mask: npt.NDArray[np.uint8], path: Path, classes: ClassList) -> None:
    """Write a mask as VOC's are, and read it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mask(mask, path, classes.palette if classes.as_stored else PALETTE)
    with Image.open(path) as written:
        if not np.array_equal(np.asarray(written), mask):
            raise RuntimeError(f"{path} does not read as it was written")


def _check_room(voc: Path, out: Path) -> None:
    needed = sum(path.stat().st_size for path in voc.rglob("*") if path.is_file())
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise UserError(
            f"a repaired copy needs {needed / 1e9:.1f} GB in {out.parent}, but {free / 1e9:.1f} GB are free: "
            "make room, or name another folder with --repair"
        )
