"""Test-time augmentation, pixel by pixel against a recomputation that shares no code with it."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.conftest import TINY
from vocseg.inference.tta import TTAConfig
from vocseg.metrics.upsample import argmax_upsampled
from vocseg.models.module import SegmentationModule


@pytest.fixture(scope="module")
def module() -> SegmentationModule:
    torch.manual_seed(3)
    return SegmentationModule(encoder=TINY).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """uint8 `[3,3,64,64]`: soft blobs with noise."""
    generator = torch.Generator().manual_seed(1)
    coarse = 255 * torch.rand(3, 3, 6, 6, generator=generator)
    smooth = functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 255)
    noise = 20 * torch.randn(3, 3, 64, 64, generator=generator)
    return (smooth + noise).clamp(0, 255).to(torch.uint8)


def _by_hand(network: torch.nn.Module, image: torch.Tensor, scales: list[float], flip: bool) -> np.ndarray:
    """Mean probabilities float64 `[C,64,64]` of one image, in numpy but for the network and the resizing."""
    found = []
    for scale in scales:
        edge = 32 * max(1, round(64 * scale / 32))
        pixels = image[None].float()
        if edge != 64:
            pixels = functional.interpolate(pixels, (edge, edge), mode="bilinear", antialias=True)
        for turned in (False, True) if flip else (False,):
            seen = pixels.numpy()[..., ::-1].copy() if turned else pixels.numpy()
            logits = network(torch.from_numpy(seen)).numpy()
            logits = logits[..., ::-1].copy() if turned else logits
            if edge != 64:
                logits = functional.interpolate(torch.from_numpy(logits), (64, 64), mode="bilinear").numpy()
            powers = np.exp(logits[0].astype(np.float64) - logits[0].max(0))
            found.append(powers / powers.sum(0))
    return np.mean(found, axis=0)


@pytest.mark.parametrize(
    ("flip", "scales"), [(True, [1.0]), (False, [0.5, 1.0, 1.5]), (True, [0.5, 1.0, 1.5]), (True, [2.0])]
)
@torch.inference_mode()
def test_variants_give_recomputed_mean_probabilities(
    module: SegmentationModule, images: torch.Tensor, flip: bool, scales: list[float]
) -> None:
    module.tta = TTAConfig(flip, tuple(scales), module.network.step)
    index = torch.arange(3)
    batch = {"image": images, "mask": torch.zeros(3, 64, 64, dtype=torch.uint8), "index": index}
    output = module.test_step(batch, 0)  # type: ignore[arg-type]
    for k, image in enumerate(images):
        wanted = _by_hand(module.network, image, scales, flip)
        found = output["logits"][k].softmax(0).numpy()
        assert np.abs(found - wanted).max() < 1e-5
        assert np.array_equal(output["prediction"][k].numpy(), wanted.argmax(0))
        logarithms = torch.from_numpy(np.log(wanted)).float()[None]
        full = functional.interpolate(logarithms, (75, 100), mode="bilinear").argmax(1)[0]
        assert torch.equal(argmax_upsampled(output["logits"][k], (75, 100)).long(), full)


@torch.inference_mode()
def test_no_variants_give_bitwise_identical_logits(module: SegmentationModule, images: torch.Tensor) -> None:
    assert torch.equal(TTAConfig().logits(module, images), module(images))
    assert TTAConfig().label is None


@torch.inference_mode()
def test_training_step_ignores_variants(module: SegmentationModule, images: torch.Tensor) -> None:
    module = copy.deepcopy(module).train()
    module.tta = TTAConfig(True, (0.5, 1.0), module.network.step)
    batch = {"image": images, "mask": torch.zeros(3, 64, 64, dtype=torch.uint8), "index": torch.arange(3)}
    output = module._step(batch, module.train_metrics)  # type: ignore[arg-type]
    assert torch.equal(output["logits"], module(images))


def test_zero_probability_has_finite_logarithm() -> None:
    logits = torch.tensor([1e4, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    found = TTAConfig(flip=True).logits(lambda _: logits, torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert found.isfinite().all()
    assert torch.equal(found.argmax(1), torch.zeros(1, 4, 4, dtype=torch.int64))


def test_scaled_sizes_are_multiples_of_step() -> None:
    assert TTAConfig(scales=(0.75, 1.0, 1.25), step=32).sizes(256) == [192, 256, 320]
    assert TTAConfig(scales=(0.7, 1.0, 1.3), step=32).sizes(256) == [192, 256, 320]
    assert TTAConfig(scales=(0.01, 1.0), step=32).sizes(256) == [32, 256]
    assert TTAConfig(scales=(0.75,)).sizes(250) == [188]


def test_label_names_variants() -> None:
    assert TTAConfig(True).label == "flip"
    assert TTAConfig(True, (0.75, 1.0, 1.25)).label == "flip, scales 0.75 1 1.25"
    assert TTAConfig(False, (2.0,)).label == "scales 2"
