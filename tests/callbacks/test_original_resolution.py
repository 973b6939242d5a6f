"""Scores at each picture's own size, from the command line, against a scorer that shares no code with it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tests.conftest import scoring
from vocseg.__main__ import main
from vocseg.checkpoints.weights import read_weights
from vocseg.data import voc
from vocseg.data.datamodule import VOCDataModule
from vocseg.metrics.per_image import load_per_image_confusion
from vocseg.models.network import build_network


def _by_hand(root: Path, weights: Path, ids: list[str]) -> np.ndarray:
    """Matrices `[N,C,C]`: the network's logits, torch's upsampling and argmax, PIL's masks, a loop."""
    read = read_weights(weights)
    network = build_network(read.description["arch"], read.description["encoder"], None, 21).eval()
    network.model.load_state_dict(read.state_dict)
    data = VOCDataModule(root=root, image_size=read.description["size"], cache=False, verify_files=False)
    data.setup("validate")
    folder = voc.find(root)
    assert folder is not None
    matrices = np.zeros((len(ids), 21, 21), np.int64)
    for k, id in enumerate(ids):
        truth = np.asarray(Image.open(voc.mask_path(folder, id, "val"))).astype(int)
        with torch.inference_mode():
            logits = network(data.parts["val"][k]["image"][None]).contiguous()
            found = functional.interpolate(logits, truth.shape, mode="bilinear").argmax(1)[0].numpy()
        for true in range(21):
            for said in range(21):
                matrices[k, true, said] = ((truth == true) & (found == said)).sum()
    return matrices


def test_test_scores_at_both_resolutions_equal_direct_computation(
    sample: Path, trained: Path, here: Path
) -> None:
    words = scoring(trained, sample)
    main(["test", *words])
    folder = here / "lightning_logs/test/version_0"
    original = load_per_image_confusion(folder / "per_image_confusion_original.npz")
    network = load_per_image_confusion(folder / "per_image_confusion_network.npz")
    found = json.loads((folder / "scores.json").read_text())
    assert (original.matrices == _by_hand(sample, trained / "unet_voc.pth", list(original.ids))).all()
    assert original.protocol.resolution == "original"
    assert network.protocol.resolution == "network"
    assert network.total().tolist() == found["input_resolution"]["matrix"]
    assert original.total().tolist() == found["original_resolution"]["matrix"]
    assert original.band is not None
    assert 0 < original.band.sum() < original.matrices.sum()
    assert found["original_resolution"]["mean_iou"] < found["ceiling"]["mean_iou"] < 1


@pytest.mark.slow
def test_test_scores_on_real_images_equal_direct_computation(
    real_voc: Path, trained: Path, here: Path
) -> None:
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(real_voc)]
    words += ["--data.cache", "false", "--data.verify_files", "false", "--data.max_val_samples", "24"]
    main(["test", *words])
    original = load_per_image_confusion(
        here / "lightning_logs/test/version_0/per_image_confusion_original.npz"
    )
    folder = voc.find(real_voc)
    assert folder is not None
    ids = voc.split_ids(folder, "val")
    rows = [ids.index(id) for id in original.ids]
    data = VOCDataModule(root=real_voc, image_size=64, max_val_samples=24, cache=False, verify_files=False)
    data.setup("validate")
    assert data.parts["val"].split.rows == tuple(rows)
    assert original.matrices.sum() == sum(
        int((np.asarray(Image.open(voc.mask_path(folder, id, "val"))) != 255).sum()) for id in original.ids
    )


def test_score_of_limited_batches_reports_number_of_images(sample: Path, trained: Path, here: Path) -> None:
    words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(sample)]
    main(["test", *words, "--data.batch_size", "2", "--trainer.limit_test_batches", "2"])
    folder = here / "lightning_logs/test/version_0"
    found = json.loads((folder / "scores.json").read_text())
    assert (
        found["input_resolution"]["protocol"]["images"]
        == found["original_resolution"]["protocol"]["images"]
        == 4
    )
    original = load_per_image_confusion(folder / "per_image_confusion_original.npz")
    assert len(original.ids) == 4
    assert original.matrices.any((1, 2)).all()
