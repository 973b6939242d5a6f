"""`submit`: archive for the VOC evaluation server."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as with_fields
from pathlib import Path

from jsonargparse.typing import PositiveFloat, PositiveInt
from PIL import Image

from vocseg.constants import CLASSES
from vocseg.data.voc import Layout, find, split_ids, split_list
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
from vocseg.submission.check import KINDS, CheckResult, Size, SubmissionFault, check_archive, examine
from vocseg.utils.progress import follow

_SHOWN = 8  # errors of one kind


def print_summary(check: CheckResult, split: str) -> None:
    """Print the errors of a check, or else the number of masks with each class."""
    size = f", {check.archive.stat().st_size:,} bytes" if check.archive.is_file() else ""
    print(
        f"{check.archive}: {check.masks:,} masks for the {check.images:,} images of '{split}', "
        f"competition {check.competition} ({folder_of(check.competition)}){size}"
    )
    if split == "test" and check.images != TEST_IMAGES:
        print(f"note: the official split 'test' has {TEST_IMAGES:,} images")
    folder = f"{folder_of(check.competition)}/"
    for kind, title in KINDS.items():
        faults = [fault for fault in check.faults if fault.kind == kind]
        if faults:
            print(f"{kind} ({len(faults):,}): {title}")
        for fault in faults[:_SHOWN]:
            print(printable(f"  {fault.member.removeprefix(folder)}  {fault.text}".rstrip()))
        if len(faults) > _SHOWN:
            print(f"  and {len(faults) - _SHOWN:,} more")
    if check.faults:
        print(f"errors: {len(check.faults):,}. The server would reject the masks or score them wrongly.")
    else:
        found = (f"{name} {count:,}" for name, count in zip(CLASSES, check.images_with, strict=True) if count)
        print(f"masks per class: {', '.join(found)}\nno errors")


def find_images(root: Path, split: str) -> tuple[Layout, dict[str, Size]]:
    """Read the header of every image of a split.

    Returns:
        Their location, and their width and height by id: without EXIF rotation, as VOC's masks have none.

    Raises:
        UserError: If the data set, the split or an image is missing, or an image is corrupt.
    """
    folder = find(root)
    if folder is None:
        raise UserError(f"no VOC 2012 in {root}. Pass the folder that holds VOCdevkit/VOC2012 with --root.")
    if split == "test" and not split_list(folder, split).is_file():
        raise UserError(
            f"no split 'test' in {folder}: VOC2012test.tar is missing. Download it from {SERVER} "
            "(registration required) and unpack it over the same VOCdevkit, or rehearse with --split val."
        )
    layout, sizes = Layout(folder), {}
    for id in split_ids(folder, split):
        path = layout.image(id)
        try:
            with Image.open(path) as image:
                sizes[id] = image.size
        except FileNotFoundError:
            raise UserError(f"the image {path} is missing. Restore it (test: VOC2012test.tar).") from None
        except Exception as error:  # Pillow raises nearly anything on corrupt bytes
            raise UserError(f"the image {path} cannot be read: {error}. Restore it.") from error
    return layout, sizes


def read_masks(
    folder: Path, sizes: Mapping[str, Size], progress: bool
) -> tuple[dict[str, bytes], list[SubmissionFault]]:
    """Read a folder of masks and encode them as PNG with VOC's palette.

    Args:
        folder: Holds `ID.png` for every image; other files are ignored.
        sizes: Width and height of every image, by id.
        progress: Show a progress bar.

    Returns:
        The valid masks by id, and the errors of the others.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"--masks_dir {folder}: no such folder. Pass a folder of masks ID.png.")
    masks: dict[str, bytes] = {}
    faults: list[SubmissionFault] = []
    for id, size in follow(sizes.items(), "reading masks", len(sizes), progress):
        path = folder / f"{id}.png"
        if not path.is_file():
            faults.append(SubmissionFault(str(path), "missing", ""))
            continue
        wrong, indices = examine(path.read_bytes(), size, allow_gray=True)
        faults += [SubmissionFault(str(path), *each) for each in wrong]
        if indices is not None and not wrong:
            masks[id] = encode(indices)
    return masks, faults


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
