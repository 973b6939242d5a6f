"""Repair of masks."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vocseg.data.audit.checks_masks import REPAIRABLE, NotExactError, mask_palette, recover
from vocseg.data.audit.findings import Finding
from vocseg.data.classes import ClassList
from vocseg.data.image_io import Bytes, save_mask
from vocseg.errors import UserError
from vocseg.utils.progress import follow


@dataclass(frozen=True)
class Repair:
    """Result of a repair.

    Attributes:
        converted: Paths of converted masks within the `VOC2012` folder.
        refused: Reasons why others were not converted, by path.
    """

    converted: tuple[str, ...]
    refused: dict[str, str]


def check_target(out: Path, voc: Path) -> None:
    """Check the folder of the repaired copy.

    Raises:
        UserError: If it exists, or lies within the data set.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"--repair {out} exists already. Pass a new folder.")
    if out.resolve().is_relative_to(voc.resolve()):
        raise UserError(f"--repair {out} lies within the data set {voc}. Pass a folder outside it.")


def repair_masks(
    voc: Path, out: Path, findings: Sequence[Finding], classes: ClassList, progress: bool = True
) -> Repair:
    """Write a copy of a data set with masks converted exactly to class indices.

    `voc` is the `VOC2012` folder, which is not changed. `out` gets the new `VOCdevkit/VOC2012`: atomically,
    and only if a mask is converted.

    Raises:
        UserError: If the disk has no room, or the copy cannot be written.
    """
    masks, refused = dict[str, Bytes](), dict[str, str]()
    for name in sorted({finding.file for finding in findings if finding.kind in REPAIRABLE}):
        try:
            with Image.open(voc / name) as image:
                masks[name] = recover(image, classes)
        except NotExactError as error:
            refused[name] = str(error)
    if masks:
        _write(voc, out, masks, classes, progress)
    return Repair(tuple(masks), refused)


def _write(voc: Path, out: Path, masks: dict[str, Bytes], classes: ClassList, progress: bool) -> None:
    part = out.with_name(f".{out.name}.part")
    copy = part / "VOCdevkit" / "VOC2012"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        files = [path for path in sorted(voc.rglob("*")) if path.is_file()]
        needed, free = sum(path.stat().st_size for path in files), shutil.disk_usage(out.parent).free
        if free < needed:
            raise UserError(
                f"--repair {out} needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free. "
                "Free some space, or pass another folder."
            )
        shutil.rmtree(part, ignore_errors=True)
        for path in follow(files, "copying other files", len(files), progress):
            name = path.relative_to(voc)
            if name.parts[0] != ".vocseg" and name.as_posix() not in masks:  # .vocseg: derived from old files
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy / name)  # without permissions, which may be read-only
        for file, mask in masks.items():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            save_mask(mask, copy / file, mask_palette(classes))
            with Image.open(copy / file) as written:
                if not np.array_equal(np.asarray(written), mask):
                    raise RuntimeError(f"{copy / file} differs from the mask written into it")
        part.rename(out)
    except OSError as error:
        raise UserError(f"--repair {out} cannot be written: {error.strerror}. Pass another path.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
