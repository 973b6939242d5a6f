"""The LightningModule without a trainer."""

import numpy as np
import pytest
import torch

from tests.metrics.test_confusion import oracle
from vocseg.data.dataloader import Batch
from vocseg.models.module import SegmentationModule

TINY = "tu-test_resnet.r160_in1k"


def _batch(seed: int, images: int, void: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 5, (images, 64, 64), generator=generator, dtype=torch.uint8)
    mask[:, :8] = 255
    return {
        "image": torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8),
        "mask": torch.full_like(mask, 255) if void else mask,
        "index": torch.arange(images),
    }


@pytest.fixture(scope="module")
def module() -> SegmentationModule:
    torch.manual_seed(0)
    return SegmentationModule(encoder=TINY).eval()


def test_an_epochs_figures_equal_an_independent_scorers(module: SegmentationModule) -> None:
    """Odd last batch and an all-void image included; the loss weighs every labelled pixel alike."""
    batches = [_batch(0, 4), _batch(1, 4), _batch(2, 1), _batch(3, 1, void=True)]
    with torch.no_grad():
        outputs = [module.validation_step(batch, k) for k, batch in enumerate(batches)]
        logits = [module(batch["image"]) for batch in batches]
    figures = module.val_metrics.compute()
    module.val_metrics.reset()
    masks = torch.cat([batch["mask"] for batch in batches])
    predictions = torch.cat([output["prediction"] for output in outputs])
    wanted = oracle(predictions.numpy(), masks.numpy())
    assert float(figures["miou"]) == pytest.approx(wanted["miou"], abs=1e-12)
    assert float(figures["pixel_accuracy"]) == pytest.approx(wanted["accuracy"], abs=1e-12)
    loss = torch.nn.functional.cross_entropy(torch.cat(logits), masks.long(), ignore_index=255)
    assert float(figures["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert torch.equal(torch.cat([output["confusion"] for output in outputs]).sum(0), figures["matrix"])
    assert np.isfinite([float(output["loss"]) for output in outputs]).all()


def test_a_batch_of_void_alone_trains_without_harm() -> None:
    module = SegmentationModule(encoder=TINY)
    loss = module._step(_batch(0, 2, void=True), module.train_metrics)["loss"]
    loss.backward()
    assert float(loss) == 0.0
    assert all(p.grad is None or (p.grad == 0).all() for p in module.parameters())


def test_an_untrained_network_scores_near_zero(module: SegmentationModule) -> None:
    with torch.no_grad():
        module.validation_step(_batch(0, 4), 0)
    assert float(module.val_metrics.compute()["miou"]) < 0.1
    module.val_metrics.reset()


def test_only_what_shapes_the_network_is_a_hyperparameter(module: SegmentationModule) -> None:
    assert dict(module.hparams) == {"arch": "unet", "encoder": TINY, "num_classes": 21}
