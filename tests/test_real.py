"""Training and scores on the real VOC pairs, where they are available."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vocseg.__main__ import main
from vocseg.data import voc
from vocseg.data.raw_reader import ImageMaskReader
from vocseg.data.splits import Split, read_split
from vocseg.models.network import build_network


def test_real_pairs_have_no_errors(real_voc: Path, tmp_path: Path) -> None:
    folder = voc.find(real_voc)
    assert folder is not None
    for name, every in (("val", 1), ("trainaug", 20)):
        split = read_split(voc.Layout(folder), name)
        part = Split(split.layout, name, split.ids[::every])
        ImageMaskReader(part, tmp_path, 64).check(progress=False)


@pytest.mark.slow
def test_training_with_pretrained_mobilenet_reduces_loss(real_voc: Path, here: Path) -> None:
    weights = real_voc.parent / "weights" / "mobilenet_v2_imagenet.pth"
    flags = f"""--data.root {real_voc} --model.encoder mobilenet_v2 --model.encoder_weights {weights}
        --data.image_size 64 --data.max_train_samples 32 --data.max_val_samples 8 --data.cache_dir cache
        --data.verify_files false --model.lr 2e-3 --trainer.max_epochs 2 --trainer.check_val_every_n_epoch 2
        --last_checkpoint.every_n_epochs 2 --image_panels.num_images 0"""
    main(["fit", *flags.split()])
    rows = (here / "lightning_logs/fit/version_0/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss/train")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_scores_of_real_images_equal_numpy_and_pil(real_voc: Path, here: Path) -> None:
    """Predictions of a network are written down, and counted again without any code of ours."""
    from vocseg.checkpoints.weights import save_weights
    from vocseg.data.datamodule import VOCDataModule
    from vocseg.models.metadata import describe
    from vocseg.models.module import SegmentationModule

    torch.manual_seed(0)
    module = SegmentationModule(encoder="tu-test_resnet.r160_in1k")
    save_weights(here / "random.pth", module, describe(module, 64, None))
    flags = f"--data.root {real_voc} --data.max_val_samples 12 --data.verify_files false --data.cache false"
    main(["test", "--ckpt_path", "random.pth", *flags.split()])
    found = json.loads((here / "lightning_logs/test/version_0/scores.json").read_text())

    data = VOCDataModule(root=real_voc, image_size=64, max_val_samples=12, cache=False, verify_files=False)
    data.setup("validate")
    network = build_network("unet", "tu-test_resnet.r160_in1k", None, 21).eval()
    network.load_state_dict(module.network.state_dict())
    wanted = np.zeros((21, 21), dtype=np.int64)
    part = data.parts["val"]
    for k in range(len(part)):
        mask = Image.open(part.split.paths(k)[1]).resize((64, 64), Image.Resampling.NEAREST)
        with torch.no_grad():
            logits = network(part[k]["image"][None])
        for truth, said in zip(np.asarray(mask).ravel(), logits[0].argmax(0).numpy().ravel(), strict=True):
            if truth != 255:
                wanted[truth, said] += 1
    assert np.array_equal(found["input_resolution"]["matrix"], wanted)
