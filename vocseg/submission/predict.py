"""Prediction of the masks of a submission."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vocseg.callbacks.original_resolution import FullSize
from vocseg.callbacks.prediction_writer import full_size_mask
from vocseg.callbacks.test_time_augmentation import TTA
from vocseg.checkpoints.weights import Weights, read_weights, rebuilt
from vocseg.constants import CLASSES
from vocseg.data.image_io import Bytes, read_image
from vocseg.data.resize import resize_image
from vocseg.data.voc import Layout, find, split_ids, split_list
from vocseg.errors import UserError
from vocseg.inference.sliding_window import Windows
from vocseg.submission.archive import SERVER, encode
from vocseg.submission.check import Fault, Size, examine
from vocseg.utils.progress import follow


@dataclass(frozen=True)
class Images:
    """The images of a list.

    Attributes:
        split: The list's name.
        layout: Where they are.
        sizes: Width and height of each by id, as stored: VOC's masks take no note of how a camera was held.
    """

    split: str
    layout: Layout
    sizes: dict[str, Size]


def find_images(root: Path, split: str) -> Images:
    """Look at every image of a list, so that a missing one shows before the work.

    Raises:
        UserError: If there is no data set, no such list, or an image is missing or cannot be read.
    """
    folder = find(root)
    if folder is None:
        raise UserError(
            f"there is no VOC 2012 in {root}: name the folder that holds VOCdevkit/VOC2012 (--root)"
        )
    if split == "test" and not split_list(folder, split).is_file():
        raise UserError(
            f"there is no list 'test' in {folder}: it comes with its images as VOC2012test.tar from {SERVER} "
            "(after registering), to be unpacked over the same VOCdevkit; to rehearse, use --split val"
        )
    layout = Layout(folder)
    return Images(split, layout, {id: _size(layout.image(id)) for id in split_ids(folder, split)})


def _size(path: Path) -> Size:
    try:
        with Image.open(path) as picture:
            return picture.size
    except FileNotFoundError:
        raise UserError(
            f"the image {path} is missing: restore it (those of VOC's list test come as VOC2012test.tar)"
        ) from None
    except Exception as fault:  # PIL raises nearly anything on damaged bytes
        raise UserError(f"the image {path} cannot be read ({fault}): restore it from the archive") from fault


def read_masks(
    folder: Path, sizes: Mapping[str, Size], progress: bool
) -> tuple[dict[str, bytes], list[Fault]]:
    """The masks of a folder as PNGs with VOC's palette, and what is wrong with those that cannot be sent.

    Args:
        folder: Holds `ID.png` for every image; other files are left alone.
        sizes: Width and height of every image, by id.
        progress: Show a bar.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"--masks {folder}: there is no such folder")
    masks: dict[str, bytes] = {}
    faults: list[Fault] = []
    for id, size in follow(sizes.items(), "reading masks", len(sizes), progress):
        path = folder / f"{id}.png"
        if not path.is_file():
            faults.append(Fault(str(path), "missing", "add it"))
            continue
        found = examine(path.read_bytes(), size)
        wrong = [
            Fault(str(path), *each) for each in found.wrong if each[0] != "grey"
        ]  # it gets a palette here
        if found.indices is not None and not wrong:
            masks[id] = encode(found.indices)
        faults += wrong
    return masks, faults


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


class Predictor:
    """The network of a file of weights, predicting as `test` does."""

    def __init__(
        self,
        weights: Weights,
        path: Path,
        batch_size: int,
        flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
        stride: float | None = None,
    ) -> None:
        """Rebuild the network.

        Args:
            weights: Of the network; what they say of themselves rebuilds it.
            path: Where they are from.
            batch_size: How many images, or windows, go through the network together.
            flip: Predict images mirrored too.
            scales: Of the variants of an image.
            stride: Of windows that slide over an image; None: each is resized whole.

        Raises:
            UserError: If the flags cannot be used with this network.
        """
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = rebuilt(weights, path).to(self._device)
        self._size, self._batch_size = weights.description["size"] or _SIZE, batch_size
        self._variants = replace(TTA(flip, scales).variants, step=self._network.step)
        self._variants.sizes(self._size)
        self._windows = None if stride is None else FullSize(stride=stride).windows(self._size)

    def masks(self, layout: Layout, ids: Sequence[str]) -> Iterator[tuple[str, Bytes]]:
        """The mask uint8 `[H,W]` of every image, with its id, in the list's order.

        Args:
            layout: Where the images are.
            ids: Which of them.

        Raises:
            UserError: If an image is missing or cannot be read.
        """
        with ThreadPoolExecutor(max_workers=2) as pool, torch.inference_mode():
            for at in range(0, len(ids), self._batch_size):
                part = ids[at : at + self._batch_size]
                images = list(pool.map(read_image, map(layout.image, part)))
                yield from zip(part, self._masks(images), strict=True)

    def _masks(self, images: list[Bytes]) -> list[Bytes]:
        if self._windows is not None:
            return [self._slide(self._windows, image) for image in images]
        resized = [torch.from_numpy(resize_image(image, (self._size, self._size))) for image in images]
        logits = self._logits(torch.stack(resized).to(self._device).permute(0, 3, 1, 2))  # [N,C,h,w]
        return [full_size_mask(one, image.shape[:2]) for one, image in zip(logits, images, strict=True)]

    def _slide(self, windows: Windows, image: Bytes) -> Bytes:
        best = windows.probabilities(self._logits, image, self._batch_size, self._device).argmax(0)
        return np.asarray(best.cpu().numpy(), np.uint8)

    def _logits(self, images: Tensor) -> Tensor:
        return self._variants.logits(self._network, images)
