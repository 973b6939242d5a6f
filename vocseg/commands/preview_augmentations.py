"""`augmentations`: contact sheet of augmented training inputs."""

import io
from pathlib import Path
from typing import get_args

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image, ImageDraw, ImageOps

from vocseg.constants import IGNORE_INDEX
from vocseg.data.classes import VOC_CLASSES, ClassList, known_classes
from vocseg.data.splits import Split, read_split
from vocseg.data.transforms.augment import Augmentation
from vocseg.data.voc import Layout, find_set
from vocseg.errors import UserError, shown
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import Bytes, colour, font, legend

GAP, LINE = 6, 24  # pixels: between images, height of a line of text
_SMALLEST = 160  # pixels: width of an image's place, for its caption
_TINT = 0.4
_INK = (30, 30, 30)


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
    mask_folder: str | None = None,
    mask_suffix: str = ".png",
    mask_values: list[int] | None = None,
) -> Path:
    """Save a contact sheet of augmented training inputs.

    Each row: the original image, then the inputs of the first epochs of `fit` with the same seed, size and
    split. Objects are tinted in their class's colour, ignored pixels in cream. The id after an epoch is that
    of an image that a piece was pasted from.

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
        mask_folder: Folder of the masks, as --data.mask_folder.
        mask_suffix: Suffix of mask files, as --data.mask_suffix.
        mask_values: Values of the classes in masks, as --data.mask_values.

    Raises:
        UserError: If the data set, split or image does not exist, or the sheet is not writable.
    """
    folder = find_set(root, image_folder)
    if folder is None:
        raise UserError(
            f"there is no data set in {root}. Pass the folder that contains VOCdevkit/VOC2012 with --root."
        )
    layout = Layout(folder, image_folder, None, mask_folder, mask_suffix)
    part = read_split(layout, split, known_classes(classes, mask_values))
    unknown = [id for id in image_id or () if id not in part.ids]
    if unknown:
        raise UserError(
            f"--image_id {shown(unknown[0])} is not in the split '{part.name}'. It has {part.ids[0]}, ..."
        )
    count = min(images, len(part))
    ids = image_id or [part.ids[k * len(part) // count] for k in range(count)]
    positions = [part.ids.index(id) for id in ids]
    chosen = list(dict.fromkeys(augmentation or get_args(Augmentation)))
    sheet = contact_sheet(part, chosen, positions, epochs, image_size, seed)
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    atomic_write(output, stream.getvalue())
    print(
        f"wrote {output} ({sheet.width}x{sheet.height}): {', '.join(chosen)} on {len(ids)} of '{part.name}'"
    )
    print(f"next     python -m vocseg fit --data.root {root} --data.augmentation {chosen[-1]}")
    return output


def contact_sheet(
    split: Split, names: list[Augmentation], positions: list[int], epochs: int, size: int, seed: int
) -> Image.Image:
    """Draw a legend, then a row for each augmentation and image."""
    # Here, so that help and errors do not import torch.
    from vocseg.data.dataset import SplitDatasets
    from vocseg.data.samplers import SampleIndex

    cell = max(size, _SMALLEST)
    width = (epochs + 1) * (cell + GAP) + GAP
    key = legend([*range(1, len(split.classes)), IGNORE_INDEX], width, split.classes)
    row_height = LINE + size + GAP
    height = len(key) + GAP + len(names) * (LINE + len(positions) * row_height)
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(Image.fromarray(key))
    pen, y = ImageDraw.Draw(sheet), len(key) + GAP
    for name in names:
        pen.text((GAP, y), f"{name} ({split.name}, {size}x{size}, seed {seed})", fill=_INK, font=font())
        y += LINE
        parts = SplitDatasets(size, name, seed, cache=False, verify=False)
        parts.open({"train": split})
        dataset = parts["train"]
        for k in positions:
            original = Image.fromarray(tinted(dataset.full_image(k), dataset.full_mask(k), split.classes))
            tiles = [(split.ids[k], ImageOps.contain(original, (size, size)))]
            for epoch in range(epochs):
                draw = SampleIndex(k, epoch)
                sample, other = dataset[draw], dataset.partner(draw)
                image = tinted(
                    sample["image"].permute(1, 2, 0).numpy(), sample["mask"].numpy(), split.classes
                )
                mixed = "" if other is None else f" + {split.ids[other]}"
                tiles.append((f"epoch {epoch + 1}{mixed}", Image.fromarray(image)))
            for column, (caption, picture) in enumerate(tiles):
                x = GAP + column * (cell + GAP)
                pen.text((x, y), caption, fill=_INK, font=font(12))
                sheet.paste(picture, (x, y + LINE))
            y += row_height
    return sheet


def tinted(image: Bytes, mask: Bytes, classes: ClassList = VOC_CLASSES) -> Bytes:
    """An image `[H,W,3]` with tinted objects; ignored pixels (255) are cream."""
    blended = (1 - _TINT) * image + _TINT * colour(mask, classes)
    return np.where((mask > 0)[..., None], blended, image).astype(np.uint8)
