"""`submit`: archive for the VOC evaluation server."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveFloat, PositiveInt

from vocseg.constants import CLASSES
from vocseg.errors import UserError, printable
from vocseg.submission.archive import (
    SERVER,
    TEST_IMAGES,
    Competition,
    check_output,
    encode,
    folder_of,
    written,
)
from vocseg.submission.check import KINDS, CheckResult, SubmissionFault, check_archive
from vocseg.submission.masks import find_images, read_masks
from vocseg.utils.progress import follow

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 8  # errors of one kind


def print_summary(check: CheckResult, split: str) -> None:
    """Print the errors of a check, or else the number of masks with each class."""
    size = f", {check.archive.stat().st_size:,} bytes" if check.archive.is_file() else ""
    print(
        f"{check.archive}: {check.masks:,} masks for the {check.images:,} images of '{split}', "
        f"competition {check.competition} ({folder_of(check.competition)}){size}"
    )
    if split == "test" and check.images != TEST_IMAGES:
        print(f"note: the official split 'test' (segmentation) has {TEST_IMAGES:,} images")
    if check.faults:
        from rich.console import Console

        Console().print(_fault_table(check.faults, f"{folder_of(check.competition)}/"))
        print(f"errors: {len(check.faults):,}. The server would reject the masks or score them wrongly.")
    else:
        found = (f"{name} {count:,}" for name, count in zip(CLASSES, check.images_with, strict=True) if count)
        print(f"masks per class: {', '.join(found)}\nno errors")


def _fault_table(faults: Sequence[SubmissionFault], folder: str) -> "Table":
    """Errors by kind, in the order of `KINDS`; names are relative to `folder`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="errors", title_justify="left")
    table.add_column("entry", overflow="fold", ratio=3)
    table.add_column("error", overflow="fold", ratio=3)
    for kind, title in KINDS.items():
        found = [fault for fault in faults if fault.kind == kind]
        if not found:
            continue
        table.add_section()
        table.add_row(Text(f"{kind} ({len(found):,})", style="bold red"), Text(title, style="bold"))
        for fault in found[:_SHOWN]:
            table.add_row(Text(printable(fault.member.removeprefix(folder))), Text(printable(fault.text)))
        if len(found) > _SHOWN:
            table.add_row(Text(f"and {len(found) - _SHOWN:,} more", style="dim"), "")
    return table


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
    batch_size: PositiveInt = 4,
    tta: AugmentationFlags = _NO_AUGMENTATION,
    original_resolution: WindowFlags = _NO_WINDOWS,
    progress: bool = True,
) -> CheckResult:
    """Write an archive for VOC's evaluation server, or check one.

    Predicts a mask for every image of a split (or reads existing masks), packs them and reads the
    archive back. It uploads nothing. The exit code is 1 if the archive or a mask has errors.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; may be given without `--root`.
        ckpt_path: Weights to predict with: `unet_voc.pth` or `.ckpt` of a run with VOC's 21 classes.
        masks_dir: Folder with a mask `ID.png` for every image of the split, instead of weights.
        validate: Archive to check, instead of weights or masks. Writes nothing.
        split: Name of the split in `ImageSets/Segmentation`: `test`, or `val` for a rehearsal.
        competition: 5: trained on VOC's own images and masks only. 6: trained on more, such as ImageNet
            weights or SBD's masks. null: 6; with --validate, the competition of the archive.
        output: Archive to write; null: `voc2012_SPLIT_compN.tar.gz` in the current folder.
        replace: Overwrite an existing archive.
        batch_size: Images per batch.
        tta: Test-time augmentation.
        original_resolution: Sliding windows.
        progress: Show a progress bar.

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
    layout, sizes = find_images(root, split)
    if validate is not None:
        result = check_archive(validate, sizes, competition, progress)
        print_summary(result, split)
        return result
    number = competition or 6
    output = output or Path(f"voc2012_{split}_comp{number}.tar.gz")
    check_output(output, replace)
    if ckpt_path is not None:
        from vocseg.callbacks.test_time_augmentation import TestTimeAugmentation  # imports torch: seconds
        from vocseg.submission.predict import predict_masks, read_voc_weights

        weights, ids = read_voc_weights(ckpt_path, number), list(sizes)
        stride = original_resolution.window_stride if original_resolution.sliding_window else None
        augmentation = TestTimeAugmentation(tta.flip, tta.scales)
        predicted = predict_masks(weights, ckpt_path, layout, ids, batch_size, augmentation, stride)
        masks = {id: encode(mask) for id, mask in follow(predicted, "predicting", len(ids), progress)}
    else:
        assert masks_dir is not None  # exactly one was given
        masks, faults = read_masks(masks_dir, sizes, progress)
        if faults:
            result = CheckResult(masks_dir, number, len(sizes), len(masks), tuple(faults))
            print_summary(result, split)
            print(f"{output} was not written")
            return result
    with written(output, number, masks) as part:
        result = check_archive(part, sizes, number, progress)
        if result.faults:
            raise RuntimeError(f"{output} differs from the masks written into it: {result.faults[:5]}")
    result = with_fields(result, archive=output)
    print_summary(result, split)
    if split == "test":
        print(f"next: upload {output} at {SERVER} (register; choose VOC2012, Segmentation).")
        print("It requires a description of 500 characters and limits the number of submissions.")
    else:
        print(f"rehearsal on '{split}': the server takes the split 'test' only")
    return result
