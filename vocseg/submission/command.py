"""`submit`: archive for the VOC evaluation server."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jsonargparse.typing import PositiveFloat
from PIL import Image

from vocseg.constants import CLASSES
from vocseg.data.voc import Layout, find, split_ids, split_list
from vocseg.errors import UserError, printable
from vocseg.submission.archive import (
    CheckResult,
    InvalidMaskError,
    Size,
    SubmissionFault,
    check_archive,
    decode,
    encode,
    folder_of,
    write_archive,
)
from vocseg.utils.progress import follow

Competition = Literal[5, 6]
_SERVER = "http://host.robots.ox.ac.uk:8080/"
_TEST_IMAGES = 1456  # in VOC 2012's ImageSets/Segmentation/test.txt
_SHOWN = 8  # errors of one kind


@dataclass(frozen=True)
class AugmentationFlags:
    """Test-time augmentation, as in `test`.

    Attributes:
        flip: Average with the horizontally mirrored image.
        scales: Scales of the averaged variants, e.g. [0.75,1,1.25].
    """

    flip: bool = False
    scales: tuple[PositiveFloat, ...] = (1.0,)


@dataclass(frozen=True)
class WindowFlags:
    """Sliding windows, as in `test`.

    Attributes:
        sliding_window: Predict in overlapping windows at the original resolution.
        window_stride: Stride as a fraction of the window's side length; above 0, at most 1.
    """

    sliding_window: bool = False
    window_stride: float = 0.5


_NO_AUGMENTATION, _NO_WINDOWS = AugmentationFlags(), WindowFlags()


def submit(
    root: Path = Path("data"),
    ckpt_path: Path | None = None,
    masks_dir: Path | None = None,
    validate: Path | None = None,
    split: str = "test",
    competition: Competition | None = None,
    output: Path | None = None,
    replace: bool = False,
    tta: AugmentationFlags = _NO_AUGMENTATION,
    original_resolution: WindowFlags = _NO_WINDOWS,
) -> CheckResult:
    """Write an archive for VOC's evaluation server, or check one.

    Predicts a mask for every image of a split (or reads existing masks), packs them and reads the
    archive back. It uploads nothing. The exit code is 1 if the archive or a mask has errors.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; may be given without `--root`.
        ckpt_path: Weights of VOC's 21 classes to predict with: `unet_voc.pth`, `.ckpt` or an exported file.
        masks_dir: Folder with a mask `ID.png` for every image of the split, instead of weights.
        validate: Archive to check, instead of weights or masks. Writes nothing.
        split: Name of the split in `ImageSets/Segmentation`: `test`, or `val` for a rehearsal.
        competition: 5: trained on VOC's own images and masks only. 6: trained on more, such as ImageNet
            weights or SBD's masks. null: 6; with --validate, the competition of the archive.
        output: Archive to write; null: `voc2012_SPLIT_compN.tar.gz` in the current folder.
        replace: Overwrite an existing archive.
        tta: Test-time augmentation.
        original_resolution: Sliding windows.

    Raises:
        UserError: If the flags, the split, its images or the weights cannot be used.
    """
    given = sum(path is not None for path in (ckpt_path, masks_dir, validate))
    if given != 1:
        raise UserError(
            f"submit got {given} of --ckpt_path, --masks_dir and --validate. Pass exactly one: weights to "
            "predict with, a folder of masks to pack, or an archive to check."
        )
    if validate is not None and (output is not None or replace):
        raise UserError(f"--validate {validate} writes nothing. Remove --output and --replace.")
    number = competition or 6
    file = validate or output or Path(f"voc2012_{split}_comp{number}.tar.gz")
    if not file.name.endswith((".tar.gz", ".tgz")):
        flag = "--output" if validate is None else "--validate"
        raise UserError(f"{flag} {file}: the server takes .tar.gz or .tgz only. Rename it.")
    layout, sizes = _find_images(root, split)
    if validate is not None:
        return _print_summary(check_archive(validate, sizes, competition), split)
    if file.exists() and not replace:
        raise UserError(f"--output {file} exists already. Pass another name or --replace true.")
    if not os.access(file.absolute().parent, os.W_OK):  # before minutes of prediction
        raise UserError(f"--output {file}: its folder is missing or read-only. Pass another file.")
    if masks_dir is not None:
        masks, faults = _read_masks(masks_dir, sizes)
        if faults:
            print(f"{file} was not written")
            return _print_summary(
                CheckResult(masks_dir, number, len(sizes), len(masks), tuple(faults)), split
            )
    else:
        assert ckpt_path is not None  # exactly one was given
        masks = _predict_masks(ckpt_path, number, layout, list(sizes), tta, original_resolution)
    write_archive(file, number, masks)
    return _print_summary(check_archive(file, sizes, number), split)


def _find_images(root: Path, split: str) -> tuple[Layout, dict[str, Size]]:
    """Location of the images of a split, and their width and height by id.

    Sizes are without EXIF rotation, as VOC's masks have none.
    """
    folder = find(root)
    if folder is None:
        raise UserError(f"no VOC 2012 in {root}. Pass the folder that holds VOCdevkit/VOC2012 with --root.")
    if split == "test" and not split_list(folder, split).is_file():
        raise UserError(
            f"no split 'test' in {folder}: VOC2012test.tar is missing. Download it from {_SERVER} "
            "(registration required) and unpack it over the same VOCdevkit, or rehearse with --split val."
        )
    layout, sizes = Layout(folder), {}
    for id in split_ids(folder, split):
        path = layout.image(id)
        try:
            with Image.open(path) as image:
                sizes[id] = image.size
        except Exception as error:  # Pillow raises nearly anything on corrupt bytes
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"the image {path} cannot be read ({reason}). Restore it.") from error
    return layout, sizes


def _predict_masks(
    ckpt_path: Path,
    competition: int,
    layout: Layout,
    ids: list[str],
    tta: AugmentationFlags,
    windows: WindowFlags,
) -> dict[str, bytes]:
    """PNG of each image by id, predicted as `test` does."""
    from vocseg.data.image_io import read_image  # these import torch: seconds
    from vocseg.inference.backends import read_description
    from vocseg.inference.predictor import load

    about = read_description(ckpt_path)
    if tuple(about["classes"]) != CLASSES:
        raise UserError(
            f"--ckpt_path {ckpt_path}: its classes are not VOC's {len(CLASSES)} in VOC's order, which the "
            "server requires. Pass weights trained on these."
        )
    trained_on = str((about.get("data") or {}).get("train", {}).get("split", ""))
    if competition == 5 and trained_on.endswith("aug"):
        raise UserError(
            f"--competition 5: {ckpt_path} was trained on '{trained_on}', which has SBD's masks. Pass "
            "--competition 6."
        )
    stride = windows.window_stride if windows.sliding_window else None
    model = load(ckpt_path, flip=tta.flip, scales=tta.scales, window_stride=stride)
    results = model(read_image(layout.image(id)) for id in ids)
    pairs = zip(ids, follow(results, "predicting", len(ids)), strict=True)
    return {id: encode(result.mask) for id, result in pairs}


def _read_masks(folder: Path, sizes: Mapping[str, Size]) -> tuple[dict[str, bytes], list[SubmissionFault]]:
    """PNG of each valid mask `ID.png` of a folder by id, and the errors of the others."""
    if not folder.is_dir():
        raise UserError(f"--masks_dir {folder}: no such folder. Pass a folder of masks ID.png.")
    masks: dict[str, bytes] = {}
    faults: list[SubmissionFault] = []
    for id, size in follow(sizes.items(), "reading masks", len(sizes)):
        path = folder / f"{id}.png"
        if not path.is_file():
            faults.append(SubmissionFault(str(path), "missing", "no such file"))
            continue
        try:
            masks[id] = encode(decode(path.read_bytes(), size, allow_gray=True))
        except InvalidMaskError as error:
            faults.append(SubmissionFault(str(path), *error.args))
    return masks, faults


def _print_summary(check: CheckResult, split: str) -> CheckResult:
    """Print and return the result of a check, and the next step if there are no errors."""
    folder = folder_of(check.competition)
    print(
        f"{check.archive}: {check.masks:,} masks for the {check.images:,} images of '{split}', "
        f"competition {check.competition} ({folder})"
    )
    if split == "test" and check.images != _TEST_IMAGES:
        print(f"note: the official split 'test' has {_TEST_IMAGES:,} images")
    for kind in dict.fromkeys(fault.kind for fault in check.faults):
        faults = [fault for fault in check.faults if fault.kind == kind]
        print(f"{kind} ({len(faults):,}):")
        for fault in faults[:_SHOWN]:
            print(printable(f"  {fault.member.removeprefix(f'{folder}/')}  {fault.text}".rstrip()))
        if len(faults) > _SHOWN:
            print(f"  and {len(faults) - _SHOWN:,} more")
    if check.faults:
        print(f"errors: {len(check.faults):,}. The server would reject the masks or score them wrongly.")
    elif split == "test":
        print(
            f"no errors\nnext: upload {check.archive} at {_SERVER} (register; choose VOC2012, Segmentation)."
        )
        print("It requires a description of 500 characters and limits the number of submissions.")
    else:
        print(f"no errors\nrehearsal on '{split}': the server takes the split 'test' only")
    return check
