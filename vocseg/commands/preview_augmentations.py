"""`augmentations`: contact sheet of augmented training inputs."""

import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image

from vocseg.data.class_files import known_classes
from vocseg.data.classes import ClassList
from vocseg.data.splits import Split, read_split
from vocseg.data.transforms.sample_rng import Augmentation
from vocseg.data.voc import Layout, find_set
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.contact_sheet import Section, Tile, contact_sheet
from vocseg.visualization.draw import Bytes

if TYPE_CHECKING:
    from vocseg.data.dataset import VOCSegmentation

_SMALLEST, _LARGEST = 128, 512  # pixels of a picture on the sheet, so that captions fit and it stays a sheet
_MOST = 100e6  # pixels of a sheet

WHAT = {
    "none": "the image as scoring sees it, the same in every epoch",
    "light": "flips",
    "crops": "flips, and crops at scales of 0.5 to 2",
    "standard": "as crops, with other brightness, contrast and colour, and some blur",
    "strong": "the draws of standard with more blur, pieces of other images, noise, and holes of void",
}


def augmentation_sheet(
    split: Split, names: Sequence[Augmentation], positions: Sequence[int], draws: int, size: int, seed: int
) -> Bytes:
    """Each image as its files have it, and as training gets it in its first epochs.

    Args:
        split: Of which the images are.
        names: Which augmentations, a block each.
        positions: Of the images in the split, a row each.
        draws: Epochs, a column each.
        size: Edge of what the network gets.
        seed: Of the run.

    Returns:
        uint8 `[H,W,3]`.

    Raises:
        UserError: If it would be too large.
    """
    cell = _cell(size)
    _check_size(len(positions) * (draws + 1) * len(names) * cell**2)
    blocks = [_block(split, name, positions, draws, size, seed) for name in names]
    return contact_sheet(blocks, cell, split.classes)


def _check_size(pixels: int) -> None:
    if pixels > _MOST:
        raise UserError(
            f"the sheet would have {pixels / 1e6:,.0f} megapixels, but {_MOST / 1e6:.0f} are the most: ask "
            "for fewer --images or --epochs, or name one --augmentation"
        )


def _cell(size: int) -> int:
    """Edge of a picture on the sheet: as large as the network gets it, small ones a whole number of times."""
    return min(size, _LARGEST) if size >= _SMALLEST else size * -(-_SMALLEST // size)


def _block(
    split: Split, name: Augmentation, positions: Sequence[int], draws: int, size: int, seed: int
) -> Section:
    # Only here, so that help and refusals need not wait for torch: its filter makes the pixels of training.
    from vocseg.data.cache_build import CachePolicy
    from vocseg.data.dataset import SplitDatasets

    parts = SplitDatasets(CachePolicy(store=False, cache=None, check=False), size, name, seed)
    parts.open({"train": split})
    part = parts["train"]
    columns = [
        [Tile(part.full_image(k), part.full_mask(k), split.ids[k]) for k in positions],
        *(list(_drawn(part, positions, epoch)) for epoch in range(1 if name == "none" else draws)),
    ]
    title = f"{name}: {WHAT[name]}   ({split.name}, {size}x{size}, seed {seed})"
    return Section(title, list(zip(*columns, strict=True)))


def _drawn(part: "VOCSegmentation", positions: Sequence[int], epoch: int) -> Iterator[Tile]:
    """A batch of an epoch, as training gets it."""
    from vocseg.data.samplers import SampleIndex

    draws = [SampleIndex(k, epoch) for k in positions]
    batch = part.batch(draws)
    images = batch["image"].permute(0, 2, 3, 1).numpy()  # [N,3,H,W] -> [N,H,W,3]
    for draw, image, mask in zip(draws, images, batch["mask"].numpy(), strict=True):
        other = part.partner(draw)
        mixed = "" if other is None else f" with {part.split.ids[other]}"
        yield Tile(np.ascontiguousarray(image), mask, f"epoch {epoch}{mixed}")


def augmentations(
    root: Path = Path("data"),
    output: Path = Path("augmentations.png"),
    augmentation: list[Augmentation] | None = None,
    images: PositiveInt = 4,
    image_id: list[str] | None = None,
    epochs: PositiveInt = 6,
    image_size: PositiveInt = 256,
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
        augmentation: Which augmentation, as --data.augmentation; may be given several times; null: all.
        images: How many images, spread evenly over the list.
        image_id: Show this image instead; may be given several times.
        epochs: How many epochs of each.
        image_size: As --data.image_size.
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
    chosen = list(dict.fromkeys(augmentation or get_args(Augmentation)))
    _check_output(output)
    naming = Layout(Path(), image_folder, image_suffix, mask_folder, mask_suffix)
    part = _split(root, split, known_classes(classes, mask_values), naming)
    positions = _positions(part, image_id, images)
    _write(output, sheet := augmentation_sheet(part, chosen, positions, epochs, image_size, seed))
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
                f"--image_id {shown(id)} is not in the list '{split.name}', which has {', '.join(near)}, ..."
            )
    return [split.ids.index(id) for id in ids]


def _write(output: Path, sheet: Bytes) -> None:
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG")
    atomic_write(output, stream.getvalue())
