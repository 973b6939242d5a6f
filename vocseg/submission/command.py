"""`submit`: archive for the VOC evaluation server."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveFloat, PositiveInt

from vocseg.constants import CLASSES
from vocseg.errors import UserError, printable
from vocseg.submission.archive import (
    SERVER,
    TEST_IMAGES,
    Competition,
    check_target,
    encode,
    folder_of,
    written,
)
from vocseg.submission.check import KINDS, CheckResult, ClassCounts, SubmissionFault, check_archive
from vocseg.submission.masks import ImageSizes, find_images, read_masks
from vocseg.utils.progress import follow

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 8  # faults of one kind


def print_summary(check: CheckResult, split: str) -> None:
    """Print what a check found: the faults, or else which classes the masks show."""
    from rich.console import Console

    console = Console()
    print(_facts(check, split))
    if check.faults:
        console.print(_faults(check.faults, f"{folder_of(check.competition)}/"))
        count = len(check.faults)
        print(f"{count:,} fault{'s' * (count > 1)}: the server would refuse it, or score it wrongly")
    else:
        console.print(_classes(check))
        print("no fault")


def tell_next(output: Path, split: str) -> None:
    """Print what is to be done with an archive that was written."""
    if split != "test":
        print(f"a rehearsal on '{split}': the server takes the list 'test' alone")
        return
    print(f"next: upload {output} at {SERVER} (register; choose VOC2012, Segmentation).")
    print(
        "Only you can do that. The server wants 500 characters or more on the method, and limits how often\n"
        "one may submit: try everything out on val first."
    )


def _facts(check: CheckResult, split: str) -> str:
    size = f", {check.archive.stat().st_size:,} bytes" if check.archive.is_file() else ""
    text = (
        f"{check.archive}: {check.masks:,} masks for the {check.images:,} images of '{split}', "
        f"competition {check.competition} ({folder_of(check.competition)}){size}"
    )
    if split == "test" and check.images != TEST_IMAGES:
        text += f"\nnote: VOC 2012's own list 'test' (segmentation) has {TEST_IMAGES:,} images"
    return text


def _classes(check: CheckResult) -> "Table":
    from rich.table import Table

    table = Table(title="what the masks show", title_justify="left")
    table.add_column("class")
    for name in ("images", "% of images", "% of pixels"):
        table.add_column(name, justify="right")
    pixels = max(sum(check.pixels), 1)
    for name, images, count in zip(CLASSES, check.images_with, check.pixels, strict=True):
        share = 100 * images / max(check.masks, 1)
        cells = (f"{images:,}", f"{share:.1f}", f"{100 * count / pixels:.2f}")
        table.add_row(name, *(cells if images else ("-", "-", "-")))
    return table


def _faults(faults: Sequence[SubmissionFault], folder: str) -> "Table":
    """By kind, in the order of `KINDS`: the first few of each, then how many more.

    Args:
        faults: All there are.
        folder: Where the masks belong; left out of the names of those that are there.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title="faults", title_justify="left")
    table.add_column("entry", overflow="fold", ratio=3)
    table.add_column("what is wrong", overflow="fold", ratio=3)
    kinds: dict[str, list[SubmissionFault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    for kind in (kind for kind in KINDS if kind in kinds):
        some = kinds[kind]
        table.add_section()
        table.add_row(Text(f"{kind} ({len(some):,})", style="bold red"), Text(KINDS[kind], style="bold"))
        for fault in some[:_SHOWN]:
            table.add_row(Text(printable(fault.member.removeprefix(folder))), Text(printable(fault.text)))
        if len(some) > _SHOWN:
            table.add_row(Text(f"and {len(some) - _SHOWN:,} more", style="dim"), "")
    return table


@dataclass(frozen=True)
class AugmentationFlags:
    """Test-time augmentation, as in `test`.

    Attributes:
        flip: Every variant also mirrored, left for right.
        scales: Variants scaled by these, such as [0.75,1,1.25].
    """

    flip: bool = False
    scales: tuple[PositiveFloat, ...] = (1.0,)


@dataclass(frozen=True)
class WindowFlags:
    """Sliding windows, as in `test`.

    Attributes:
        sliding_window: Predict in overlapping windows over the image at its own size.
        window_stride: From one window to the next, in parts of a window's edge; above 0, and 1 at most.
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
    """Write the archive that VOC's evaluation server takes, or check one.

    Predicts a mask for every image of a list (or takes masks that are there), packs them as the server wants,
    and reads the archive back. Only you can upload it. The exit code is 1 if archive or masks have faults.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; may be given without `--root`.
        ckpt_path: Weights to predict with: a run's `unet_voc.pth` or `.ckpt`, of VOC's 21 classes.
        masks_dir: Instead of weights: a folder with a mask `ID.png` for every image of the list.
        validate: Instead of either: an archive, yours or another's, to be checked and nothing else.
        split: The list in `ImageSets/Segmentation`: `test`, or `val` for a rehearsal.
        competition: 5: trained on VOC's own images and masks alone; 6: on more (ImageNet weights and SBD's
            masks are more). null: 6; for --validate, the one that the archive is for.
        output: The archive to write; null: `voc2012_SPLIT_compN.tar.gz` in the current folder.
        replace: Let the archive take the place of a file of that name.
        batch_size: Images that go through the network together.
        tta: Test-time augmentation.
        original_resolution: Sliding windows.
        progress: Show a progress bar.

    Raises:
        UserError: If the flags, the list, its images or the weights cannot be used.
    """
    _check_flags(ckpt_path, masks_dir, validate, output, replace)
    images = find_images(root, split)
    if validate is not None:
        return _check(validate, images, competition, progress)
    number = competition or 6
    output = output or Path(f"voc2012_{split}_comp{number}.tar.gz")
    check_target(output, replace)
    if ckpt_path is not None:
        predicted = _predict(ckpt_path, images, number, batch_size, tta, original_resolution, progress)
        return _pack(predicted, images, number, output, progress)
    assert masks_dir is not None  # one of the three is there
    return _pack_folder(masks_dir, images, number, output, progress)


def _check(archive: Path, images: ImageSizes, competition: Competition | None, progress: bool) -> CheckResult:
    """Say what is wrong with an archive, if anything is."""
    result = check_archive(archive, images.sizes, competition, progress)
    print_summary(result, images.split)
    return result


def _check_flags(
    ckpt_path: Path | None, masks: Path | None, check: Path | None, output: Path | None, replace: bool
) -> None:
    given = [each for each in (ckpt_path, masks, check) if each is not None]
    if len(given) != 1:
        raise UserError(
            "submit needs one of --ckpt_path FILE (weights to predict with), --masks_dir FOLDER (masks to "
            f"pack) and --validate ARCHIVE (to be checked), not {'several' if given else 'none'}"
        )
    if check is not None and (output is not None or replace):
        raise UserError(f"--validate {check} writes nothing: leave --output and --replace out")


def _predict(
    ckpt_path: Path,
    images: ImageSizes,
    competition: int,
    batch_size: int,
    tta: AugmentationFlags,
    full_size: WindowFlags,
    progress: bool,
) -> dict[str, bytes]:
    """The network's masks as PNGs."""
    from vocseg.submission.predict import Predictor, read_voc_weights  # they wait for torch

    weights = read_voc_weights(ckpt_path, competition)
    stride = full_size.window_stride if full_size.sliding_window else None
    predictor = Predictor(weights, ckpt_path, batch_size, tta.flip, tta.scales, stride)
    predicted = predictor.masks(images.layout, list(images.sizes))
    return {id: encode(mask) for id, mask in follow(predicted, "predicting", len(images.sizes), progress)}


def _pack_folder(
    folder: Path, images: ImageSizes, competition: int, output: Path, progress: bool
) -> CheckResult:
    """Pack masks that are there, unless something is wrong with one."""
    encoded, faults = read_masks(folder, images.sizes, progress)
    if not faults:
        return _pack(encoded, images, competition, output, progress)
    result = ClassCounts(len(encoded)).check(folder, competition, len(images.sizes), faults)
    print_summary(result, images.split)
    print(f"{output} was not written")
    return result


def _pack(
    encoded: Mapping[str, bytes], images: ImageSizes, competition: int, output: Path, progress: bool
) -> CheckResult:
    """Write the archive, read it back, and say what it holds."""
    with written(output, competition, encoded) as part:
        result = check_archive(part, images.sizes, competition, progress)
        if result.faults:  # the masks were sound when they were packed
            raise RuntimeError(f"{output} does not hold what was written into it: {result.faults[:5]}")
    result = result.at(output)
    print_summary(result, images.split)
    tell_next(output, images.split)
    return result
