"""LightningModule: steps, metrics, random state."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import TINY, tiny
from tests.metrics.test_confusion import oracle
from vocseg.__main__ import main
from vocseg.data.dataloader import Batch
from vocseg.models.module import SegmentationModule


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


def test_epoch_metrics_equal_independent_scorer(module: SegmentationModule) -> None:
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


def test_batch_of_ignored_pixels_has_zero_gradients() -> None:
    module = SegmentationModule(encoder=TINY)
    loss = module._step(_batch(0, 2, void=True), module.train_metrics)["loss"]
    loss.backward()
    assert float(loss) == 0.0
    assert all(p.grad is None or (p.grad == 0).all() for p in module.parameters())


def test_hyperparameters_define_network_only(module: SegmentationModule) -> None:
    assert dict(module.hparams) == {"arch": "unet", "encoder": TINY, "num_classes": 21}


@pytest.mark.parametrize(("every", "wanted"), [("0", []), ("3", [2])])
def test_step_loss_is_logged_every_n_steps(sample: Path, here: Path, every: str, wanted: list[int]) -> None:
    main(["fit", *tiny(sample), "--trainer.log_every_n_steps", every])
    names, *rows = [
        line.split(",")
        for line in (here / "lightning_logs/fit/version_0/metrics.csv").read_text().splitlines()
    ]
    place = names.index("loss/train_step") if "loss/train_step" in names else None
    written = [int(row[names.index("step")]) for row in rows if place is not None and row[place]]
    assert written == wanted


def _drawn(seed: int, epoch: int, batch: int, rank: int = 0) -> list[float]:
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(seed=seed),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        current_epoch=epoch,
        global_rank=rank,
    )
    module: Any = SimpleNamespace(trainer=trainer)
    SegmentationModule.on_train_batch_start(module, {}, batch)  # type: ignore[typeddict-item]
    return [float(each) for each in torch.nn.functional.dropout(torch.ones(64), 0.5)]


def test_draws_depend_on_seed_epoch_step_and_process_only() -> None:
    drawn = [_drawn(*key) for key in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 2, 3, 1))]
    assert all(a != b for k, a in enumerate(drawn) for b in drawn[:k])
    torch.rand(100)
    assert _drawn(1, 2, 3) == drawn[0]
