"""The tool `python -m vocseg augmentations`: what training does to images, on one sheet to be looked at."""

import difflib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image

from vocseg.augmentation_sheet import augmentation_sheet
from vocseg.class_files import known_classes
from vocseg.classes import ClassList
from vocseg.data.chance import Augmentation
from vocseg.data.splits import Split, read_split
from vocseg.errors import UserError, shown
from vocseg.views.draw import Bytes
from vocseg.voc import Layout, find_set
from vocseg.whole_files import write_whole


def augmentations(
    root: Path = Path("data"),
    output: Path = Path("augmentations.png"),
    set: list[Augmentation] | None = None,
    images: PositiveInt = 4,
    id: list[str] | None = None,
    draws: PositiveInt = 6,
    size: PositiveInt = 256,
    seed: NonNegativeInt = 42,
    split: str = "train",
    classes: Path | None = None,
    image_folder: str = "JPEGImages",
    image_suffix: str | None = None,
    mask_folder: str | None = None,
    mask_suffix: str = ".png",
    mask_values: list[int] | None = None,
) -> Path:
    """Draw a contact sheet of what augmentation does to images and masks, before a night is spent on it.

    One row an image: first as its files have it, then as `fit` sees it in its first epochs, to the very pixel
    (with the same seed, size and list of images). Objects are tinted in their class's colour, void in cream;
    where a piece of another image was put in, its id stands below.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; may be given without `--root`.
        output: The sheet, a PNG.
        set: Which augmentation, as --data.augmentation; may be given several times; null: all.
        images: How many images, spread evenly over the list.
        id: Show this image instead; may be given several times.
        draws: How many epochs of each.
        size: As --data.size.
        seed: As --seed_everything.
        split: As --data.train_split.
        classes: As --data.classes.
        image_folder: As --data.image_folder.
        image_suffix: As --data.image_suffix.
        mask_folder: As --data.mask_folder.
        mask_suffix: As --data.mask_suffix.
        mask_values: As --data.mask_values.

    Raises:
        UserError: If there is no such data set, list or image, or the sheet is too large or not writable.
    """
    chosen = list(dict.fromkeys(set or get_args(Augmentation)))
    _check_output(output)
    naming = Layout(Path(), image_folder, image_suffix, mask_folder, mask_suffix)
    part = _split(root, split, known_classes(classes, mask_values), naming)
    positions = _positions(part, id, images)
    _write(output, sheet := augmentation_sheet(part, chosen, positions, draws, size, seed))
    height, width = sheet.shape[:2]
    print(f"wrote {output} ({width}x{height}): {', '.join(chosen)} on {len(positions)} of '{part.name}'")
    return output


def _check_output(output: Path) -> None:
    if output.is_dir() or output.suffix.lower() != ".png":
        raise UserError(f"--output {output}: the sheet is a PNG, so name a file that ends in .png")


def _split(root: Path, name: str, classes: ClassList, naming: Layout) -> Split:
    folder = find_set(root, naming.image_folder)
    if folder is None:
        raise UserError(
            f"there is no data set in {root}: name the folder that holds VOCdevkit/VOC2012 with --root"
        )
    return read_split(replace(naming, folder=folder), name, classes)


def _positions(split: Split, ids: Sequence[str] | None, images: int) -> list[int]:
    """Of the images to show, in the split."""
    if not ids:
        count = min(images, len(split))
        return [k * len(split) // count for k in range(count)]
    for id in ids:
        if id not in split.ids:
            near = difflib.get_close_matches(id, split.ids, n=3) or split.ids[:3]
            raise UserError(
                f"--id {shown(id)} is not in the list '{split.name}', which has {', '.join(near)}, ..."
            )
    return [split.ids.index(id) for id in ids]


def _write(output: Path, sheet: Bytes) -> None:
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG")
    write_whole(output, stream.getvalue())
