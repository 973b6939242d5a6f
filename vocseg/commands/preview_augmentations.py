"""`augmentations`: contact sheet of augmented training inputs."""

import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import cv2
import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image, ImageDraw

from vocseg.constants import IGNORE_INDEX
from vocseg.data.classes import VOC_CLASSES, ClassList, known_classes
from vocseg.data.splits import Split, read_split
from vocseg.data.transforms.augment import Augmentation
from vocseg.data.voc import Layout, find_set
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import Bytes, font, legend, overlay

if TYPE_CHECKING:
    from vocseg.data.dataset import VOCSegmentation

_SMALLEST, _WIDEST = 128, 1200  # pixels: least side length of an image on the sheet, width of the sheet
_MOST = 100e6  # pixels of a sheet
_INK, _FAINT, _PAPER, _BAND = (30, 30, 30), (110, 110, 110), 255, 225  # _BAND: background of titles
_LINE, _GAP, _SIZE = 26, 6, 18  # pixels: height of a line of text, gap between images, size of letters
_TINT = 0.4  # weaker than an overlay's, as augmentation changes colours

WHAT = {
    "none": "the image as in scoring, equal in every epoch",
    "light": "flips",
    "crops": "flips, and crops at scales of 0.5 to 2",
    "standard": "as crops, with changed brightness, contrast and colour, and some blur",
    "strong": "as standard, with more blur, pieces of other images, noise, and ignored holes",
}


class Tile(NamedTuple):
    """RGB image uint8 `[H,W,3]`, mask uint8 `[H,W]` and caption."""

    image: Bytes
    mask: Bytes
    caption: str


class Section(NamedTuple):
    """Rows of tiles of equal length under a title."""

    title: str
    rows: Sequence[Sequence[Tile]]


def augmentation_sheet(
    split: Split, names: Sequence[Augmentation], positions: Sequence[int], epochs: int, size: int, seed: int
) -> Bytes:
    """Original images and the inputs of the first epochs, RGB uint8 `[H,W,3]`.

    Raises:
        UserError: If the sheet is too large.
    """
    # Small images are enlarged by a whole number, so that captions fit; large ones are reduced to the sheet.
    largest = max(_SMALLEST, _WIDEST // (epochs + 1))
    cell = min(size, largest) if size >= _SMALLEST else size * -(-_SMALLEST // size)
    pixels = len(positions) * (epochs + 1) * len(names) * cell**2
    if pixels > _MOST:
        raise UserError(
            f"the sheet would have {pixels / 1e6:,.0f} megapixels, the limit is {_MOST / 1e6:.0f}. Use fewer "
            "--images or --epochs, or one --augmentation."
        )
    sections = [_section(split, name, positions, epochs, size, seed) for name in names]
    return contact_sheet(sections, cell, split.classes)


def _section(
    split: Split, name: Augmentation, positions: Sequence[int], epochs: int, size: int, seed: int
) -> Section:
    # Here, so that help and errors do not import torch.
    from vocseg.data.dataset import CachePolicy, SplitDatasets

    parts = SplitDatasets(CachePolicy(store=False, cache=None, check=False), size, name, seed)
    parts.open({"train": split})
    part = parts["train"]
    columns = [
        [Tile(part.full_image(k), part.full_mask(k), split.ids[k]) for k in positions],
        *(list(_inputs(part, positions, epoch)) for epoch in range(1 if name == "none" else epochs)),
    ]
    rows = list(zip(*columns, strict=True))
    if name == "none":  # the same input in every epoch: several images share a row
        pairs = [(original, each._replace(caption="every epoch")) for original, each in rows]
        side = max(1, (epochs + 1) // 2)
        rows = [tuple(chain(*pairs[k : k + side])) for k in range(0, len(pairs), side)]
    title = f"{name}: {WHAT[name]}   ({split.name}, {size}x{size}, seed {seed})"
    return Section(title, rows)


def _inputs(part: "VOCSegmentation", positions: Sequence[int], epoch: int) -> Iterator[Tile]:
    """Augmented inputs of an epoch."""
    from vocseg.data.samplers import SampleIndex

    samples = [SampleIndex(k, epoch) for k in positions]
    batch = part.batch(samples)
    images = batch["image"].permute(0, 2, 3, 1).numpy()  # [N,3,H,W] -> [N,H,W,3]
    for sample, image, mask in zip(samples, images, batch["mask"].numpy(), strict=True):
        other = part.partner(sample)
        mixed = "" if other is None else f" + {part.split.ids[other]}"
        yield Tile(np.ascontiguousarray(image), mask, f"epoch {epoch + 1}{mixed}")


def augmentations(
    root: Path = Path("data"),
    output: Path = Path("augmentations.png"),
    augmentation: list[Augmentation] | None = None,
    images: PositiveInt = 2,
    image_id: list[str] | None = None,
    epochs: PositiveInt = 5,
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
    """Save a contact sheet of augmented training inputs.

    Each row: the original image, then the inputs of the first epochs of `fit` with the same seed, size and
    split, reduced where the sheet would be wider than 1,200 pixels. Objects are tinted in their class's
    colour, ignored pixels in cream. The id after an epoch is that of an image that a piece was pasted from.

    Args:
        root: Folder that contains `VOCdevkit/VOC2012`; also as the positional argument.
        output: PNG file to write.
        augmentation: Augmentation, as --data.augmentation; may be repeated; default: all.
        images: Number of images, evenly spaced over the split.
        image_id: Id of an image to show instead; may be repeated.
        epochs: Number of epochs.
        image_size: Input resolution, as --data.image_size.
        seed: Seed of the run, as --seed_everything.
        split: Split of the images, as --data.train_split.
        classes: Class list, as --data.classes.
        image_folder: Folder of the images, as --data.image_folder.
        image_suffix: Suffix of image files, as --data.image_suffix.
        mask_folder: Folder of the masks, as --data.mask_folder.
        mask_suffix: Suffix of mask files, as --data.mask_suffix.
        mask_values: Values of the classes in masks, as --data.mask_values.

    Raises:
        UserError: If the data set, split or image does not exist, or the sheet is too large or not writable.
    """
    chosen = list(dict.fromkeys(augmentation or get_args(Augmentation)))
    if output.is_dir() or output.suffix.lower() != ".png":
        raise UserError(f"--output {output}: the sheet is a PNG. Pass a file name that ends in .png.")
    naming = Layout(Path(), image_folder, image_suffix, mask_folder, mask_suffix)
    folder = find_set(root, image_folder)
    if folder is None:
        raise UserError(
            f"there is no data set in {root}. Pass the folder that contains VOCdevkit/VOC2012 with --root."
        )
    part = read_split(replace(naming, folder=folder), split, known_classes(classes, mask_values))
    positions = _positions(part, image_id, images)
    sheet = augmentation_sheet(part, chosen, positions, epochs, image_size, seed)
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG")
    atomic_write(output, stream.getvalue())
    height, width = sheet.shape[:2]
    print(f"wrote {output} ({width}x{height}): {', '.join(chosen)} on {len(positions)} of '{part.name}'")
    print(f"next     python -m vocseg fit --data.root {root} --data.augmentation {chosen[-1]}")
    return output


def _positions(split: Split, ids: Sequence[str] | None, images: int) -> list[int]:
    """Positions of the images in the split."""
    if not ids:
        count = min(images, len(split))
        return [k * len(split) // count for k in range(count)]
    for id in ids:
        if id not in split.ids:
            near = difflib.get_close_matches(id, split.ids, n=3) or split.ids[:3]
            raise UserError(
                f"--image_id {shown(id)} is not in the split '{split.name}'. It has {', '.join(near)}, ..."
            )
    return [split.ids.index(id) for id in ids]


def tinted(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """An image `[H,W,3]` with tinted objects; ignored pixels (255) are cream."""
    tinted = overlay(image, mask, classes, _TINT)
    void, cream = mask == IGNORE_INDEX, np.array(classes.palette[IGNORE_INDEX])
    tinted[void] = (image[void] * (1 - _TINT) + cream * _TINT).astype(np.uint8)
    return tinted


def contact_sheet(sections: Sequence[Section], cell: int, classes: ClassList = VOC_CLASSES) -> Bytes:
    """A legend of the classes, then all sections: RGB uint8; `cell`: side length of an image in pixels."""
    rows = [row for section in sections for row in section.rows]
    width = max(len(row) for row in rows) * (cell + _GAP) + _GAP
    labels = {int(label) for row in rows for tile in row for label in np.unique(tile.mask)}
    parts = [legend(sorted(labels - {0}), width, classes), _paper(_GAP, width)]
    for section in sections:
        title = _padded(_text(section.title, width - 2 * _GAP, _INK), width)
        parts += [np.minimum(title, _BAND), _paper(_GAP, width)]
        for row in section.rows:
            images = [_framed(tinted(tile.image, tile.mask, classes), cell) for tile in row]
            captions = [np.hstack([_text(tile.caption, cell, _FAINT), _paper(_LINE, _GAP)]) for tile in row]
            parts += [_padded(np.hstack(images), width), _padded(np.hstack(captions), width)]
    return np.vstack(parts)


def _framed(image: Bytes, cell: int) -> Bytes:
    """An image fitted into a square of paper at its aspect ratio, with the gap at its right."""
    height, width = image.shape[:2]
    scale = cell / max(height, width)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST_EXACT
    frame = _paper(cell, cell + _GAP)
    y, x = (cell - shape[0]) // 2, (cell - shape[1]) // 2
    frame[y : y + shape[0], x : x + shape[1]] = cv2.resize(image, shape[::-1], interpolation=method)
    return frame


def _text(text: str, width: int, ink: tuple[int, int, int]) -> Bytes:
    """A line of text `[_LINE,width,3]`, shortened to fit."""
    line = Image.new("RGB", (width, _LINE), (_PAPER,) * 3)
    pen = ImageDraw.Draw(line)
    short = text
    while short and pen.textlength(short, font=font(_SIZE)) > width:
        short = short.removesuffix("...")[:-1] + "..." if short != "..." else ""
    pen.text((0, 2), short, fill=ink, font=font(_SIZE))
    return np.asarray(line)


def _padded(strip: Bytes, width: int) -> Bytes:
    """A strip with the gap at its left, cropped or padded to the width."""
    sheet = _paper(len(strip), width)
    strip = strip[:, : width - _GAP]
    sheet[:, _GAP : _GAP + strip.shape[1]] = strip
    return sheet


def _paper(height: int, width: int) -> Bytes:
    return np.full((height, width, 3), _PAPER, np.uint8)
