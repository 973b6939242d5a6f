"""Prediction of the masks of a submission."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.callbacks.test_time_augmentation import TestTimeAugmentation
from vocseg.checkpoints.weights import Weights, read_weights, rebuilt
from vocseg.constants import CLASSES
from vocseg.data.image_io import Bytes, read_image
from vocseg.data.resize import resize_image
from vocseg.data.voc import Layout
from vocseg.errors import UserError
from vocseg.inference.result import full_size_mask


def read_voc_weights(path: Path, competition: int) -> Weights:
    """Read weights and check that the server accepts their classes and training data.

    Raises:
        UserError: If they cannot be read, have other classes, or (competition 5) were trained on SBD.
    """
    weights = read_weights(path)
    if tuple(weights.description["classes"]) != CLASSES:
        raise UserError(
            f"--ckpt_path {path}: its classes are not VOC's {len(CLASSES)} in VOC's order, which the server "
            "requires. Pass weights trained on these."
        )
    split = str((weights.description.get("data") or {}).get("train", {}).get("split", ""))
    if competition == 5 and split.endswith("aug"):
        raise UserError(
            f"--competition 5: {path} was trained on '{split}', which has SBD's masks. Pass --competition 6."
        )
    return weights


def predict_masks(
    weights: Weights,
    path: Path,
    layout: Layout,
    ids: Sequence[str],
    batch_size: int,
    tta: TestTimeAugmentation,
    stride: float | None,
) -> Iterator[tuple[str, Bytes]]:
    """Yield the id and the mask uint8 `[H,W]` of every image, predicted as `test` does.

    Args:
        weights: With the metadata that describes the network.
        path: File of the weights, for error messages.
        layout: Location of the images.
        ids: Images to predict.
        batch_size: Images, or windows, per batch.
        tta: Test-time augmentation.
        stride: Stride of sliding windows as a fraction of the window; None: resize each image.

    Raises:
        UserError: If the options do not fit the network, or an image is missing or corrupt.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = rebuilt(weights, path).to(device)
    size = weights.description["size"] or 256
    variants = replace(tta.config, step=network.step)
    variants.sizes(size)
    windows = None if stride is None else OriginalResolutionEval(window_stride=stride).windows(size)
    logits_of = partial(variants.logits, network)
    with ThreadPoolExecutor(max_workers=2) as pool, torch.inference_mode():
        for at in range(0, len(ids), batch_size):
            batch = ids[at : at + batch_size]
            images = list(pool.map(read_image, map(layout.image, batch)))
            if windows is not None:
                for id, image in zip(batch, images, strict=True):
                    mask = windows.probabilities(logits_of, image, batch_size, device).argmax(0)
                    yield id, np.asarray(mask.cpu().numpy(), np.uint8)
                continue
            resized = [torch.from_numpy(resize_image(image, (size, size))) for image in images]
            logits = logits_of(torch.stack(resized).to(device).permute(0, 3, 1, 2))  # [N,C,h,w]
            for id, one, image in zip(batch, logits, images, strict=True):
                yield id, full_size_mask(one, image.shape[:2])
