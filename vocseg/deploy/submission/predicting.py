"""A network's masks for the images of a list, at each image's own size."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from vocseg.data.decoding import Bytes
from vocseg.data.reading import read_image
from vocseg.data.resizing import resize_image
from vocseg.deploy.masks import full_size_mask
from vocseg.errors import UserError
from vocseg.runs.weights import Weights, read_weights, rebuilt
from vocseg.voc import CLASSES, Layout

_SIZE = 256  # where a file of weights does not say


def read_voc_weights(path: Path, competition: int) -> Weights:
    """Weights whose predictions the server can score, in this competition.

    Raises:
        UserError: If they cannot be read, are of other classes, or were trained on more than VOC's own masks.
    """
    weights = read_weights(path)
    names = weights.description["classes"]
    if len(names) != len(CLASSES):
        differ = f"tells {len(names)} classes apart"
    else:
        differ = next(
            (
                f"has '{a}' as class {k}"
                for k, (a, b) in enumerate(zip(names, CLASSES, strict=True))
                if a != b
            ),
            "",
        )
    if differ:
        raise UserError(
            f"--ckpt_path {path}: {differ}; the server takes VOC's {len(CLASSES)} classes, in VOC's order: "
            "name weights that were trained on these"
        )
    split = str((weights.description.get("data") or {}).get("train", {}).get("split", ""))
    if competition == 5 and split.endswith("aug"):
        raise UserError(
            f"--competition 5: {path} was trained on '{split}', and SBD's masks are not VOC's own: use "
            "--competition 6"
        )
    return weights


def predict_masks(
    weights: Weights, path: Path, layout: Layout, ids: Sequence[str], batch_size: int
) -> Iterator[tuple[str, Bytes]]:
    """The mask uint8 `[H,W]` of every image, with its id, in the list's order.

    Args:
        weights: Of the network; what they say of themselves rebuilds it.
        path: Where they are from.
        layout: Where the images are.
        ids: Which of them.
        batch_size: How many go through the network together.

    Raises:
        UserError: If an image is missing or cannot be read.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, size = rebuilt(weights, path).to(device), weights.description["size"] or _SIZE
    with ThreadPoolExecutor(max_workers=2) as pool, torch.inference_mode():
        for at in range(0, len(ids), batch_size):
            part = ids[at : at + batch_size]
            read = list(pool.map(lambda id: _read(layout.image(id), size), part))
            batch = torch.stack([torch.from_numpy(pixels) for pixels, _ in read])  # [N,h,w,3]
            logits = network(batch.to(device).permute(0, 3, 1, 2))  # [N,C,h,w]
            for id, one, (_, shape) in zip(part, logits, read, strict=True):
                yield id, full_size_mask(one, shape)


def _read(path: Path, size: int) -> tuple[Bytes, tuple[int, int]]:
    """An image at the network's size, and its own height and width."""
    image = read_image(path)
    return resize_image(image, (size, size)), (image.shape[0], image.shape[1])
