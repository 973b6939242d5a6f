"""What training sees of some images, drawn on one sheet."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vocseg.data.chance import Augmentation
from vocseg.data.splits import Split
from vocseg.errors import UserError
from vocseg.views.contact import Block, Shot, contact_sheet
from vocseg.views.draw import Bytes

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
            "for fewer --images or --draws, or name one --set"
        )


def _cell(size: int) -> int:
    """Edge of a picture on the sheet: as large as the network gets it, small ones a whole number of times."""
    return min(size, _LARGEST) if size >= _SMALLEST else size * -(-_SMALLEST // size)


def _block(
    split: Split, name: Augmentation, positions: Sequence[int], draws: int, size: int, seed: int
) -> Block:
    # Only here, so that help and refusals need not wait for torch: its filter makes the pixels of training.
    from vocseg.data.parts import Parts
    from vocseg.data.storage import Storage

    parts = Parts(Storage(store=False, cache=None, check=False), size, name, seed)
    parts.open({"train": split})
    part = parts["train"]
    columns = [
        [Shot(part.full_image(k), part.full_mask(k), split.ids[k]) for k in positions],
        *(list(_drawn(part, positions, epoch)) for epoch in range(1 if name == "none" else draws)),
    ]
    title = f"{name}: {WHAT[name]}   ({split.name}, {size}x{size}, seed {seed})"
    return Block(title, list(zip(*columns, strict=True)))


def _drawn(part: "VOCSegmentation", positions: Sequence[int], epoch: int) -> Iterator[Shot]:
    """A batch of an epoch, as training gets it."""
    from vocseg.data.order import Draw

    draws = [Draw(k, epoch) for k in positions]
    batch = part.batch(draws)
    images = batch["image"].permute(0, 2, 3, 1).numpy()  # [N,3,H,W] -> [N,H,W,3]
    for draw, image, mask in zip(draws, images, batch["mask"].numpy(), strict=True):
        other = part.partner(draw)
        mixed = "" if other is None else f" with {part.split.ids[other]}"
        yield Shot(np.ascontiguousarray(image), mask, f"epoch {epoch}{mixed}")
