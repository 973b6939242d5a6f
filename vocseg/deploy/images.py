"""Images for checks, calibration and scores of exported files."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vocseg.checkpoints.compatibility import Description, check_classes
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.image_io import Bytes, resize_image
from vocseg.data.synthetic import draw_scene
from vocseg.metrics.scorer import Scorer
from vocseg.utils.progress import follow
from vocseg.utils.yaml_loader import read_yaml

_DATA = (  # settings of a run's data that say what its images and classes are
    *("classes", "image_folder", "image_suffix", "mask_folder", "mask_suffix", "mask_values"),
    *("train_split", "val_split", "val_fraction", "subset_seed"),
)


def sample_images(count: int) -> list[Bytes]:
    """Draw images of the sample set, RGB uint8 `[H,W,3]`; nothing is written."""
    objects = [[1 + k % 20, 1 + (7 * k + 5) % 20] for k in range(count)]
    return [draw_scene(np.random.default_rng([2, k]), each)[0] for k, each in enumerate(objects)]


def run_data(
    root: Path, ckpt_path: Path, description: Description, size: int, max_val_samples: int | None = None
) -> VOCDataModule:
    """Open a data set with the folders, classes and splits of the run that trained the weights.

    Its settings are in the `config.yaml` beside the weights. `size`: side length of the network's input.

    Raises:
        UserError: If the data cannot be read, or has other classes.
    """
    config = ckpt_path.with_name("config.yaml")
    content = read_yaml(config, str(config)) if config.is_file() else {}
    found = content.get("data") if isinstance(content, dict) else None
    given = {name: found[name] for name in _DATA if name in found} if isinstance(found, dict) else {}
    if given.get("classes") is not None:
        given["classes"] = Path(given["classes"])
    data = VOCDataModule(
        root=root,
        image_size=size,
        batch_size=1,
        max_val_samples=max_val_samples,
        download=False,
        cache=False,
        verify_files=False,
        **given,
    )
    check_classes(ckpt_path, description, data.classes)
    return data


def data_images(data: VOCDataModule, stage: Literal["train", "val"], count: int) -> list[Bytes]:
    """Return images at their original resolution, evenly spread over a split."""
    dataset, total = data.train_dataset if stage == "train" else data.val_dataset, len(data.ids(stage))
    return [dataset.full_image(int(k)) for k in np.linspace(0, total - 1, min(total, count)).round()]


def network_input(image: Bytes, size: int) -> Tensor:
    """Resize an image uint8 `[H,W,3]` to uint8 `[1,3,S,S]`, as `predict` does."""
    return torch.from_numpy(resize_image(image, (size, size))).permute(2, 0, 1)[None].contiguous()


def score_network(network: nn.Module, data: VOCDataModule, what: str) -> Scorer:
    """Score a network on the validation images at their original resolution, as `test` does.

    It takes uint8 `[1,3,S,S]` and gives logits. `what`: label of the progress bar.
    """
    scorer, ids = Scorer(data.classes.names), data.ids("val")
    with torch.inference_mode():
        for k in follow(range(len(ids)), what, len(ids)):
            logits = network(network_input(data.full_image(k), data.image_size))
            scorer.update(logits[0], data.full_mask(k), ids[k])
    return scorer
