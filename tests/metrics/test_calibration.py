"""Expected calibration error against its definition."""

import json

import numpy as np
import pytest
import torch

from tests.metrics.population import PROTOCOL
from vocseg.metrics.calibration import BINS, Calibration, calibration_counts, confidences


def _case(seed: int, classes: int = 21) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[2,C,9,11]` from unsure to very sure, and masks with void."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 10 ** random.uniform(-2, 1.5), (2, classes, 9, 11)).astype(np.float32)
    mask = random.choice([*range(classes), 255], (2, 9, 11)).astype(np.uint8)
    right = random.random((2, 9, 11)) < 0.6
    return torch.from_numpy(logits), torch.from_numpy(
        np.where(right, logits.argmax(1), mask).astype(np.uint8)
    )


def _counted(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    best = logits.argmax(1)
    return calibration_counts(confidences(logits, best), best, mask, logits.shape[1])


def _error_by_hand(logits: np.ndarray, mask: np.ndarray) -> float:
    bins: dict[int, list[tuple[float, bool]]] = {}
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probability = powers / powers.sum(1, keepdims=True)
    for image, labels in zip(probability, mask, strict=True):
        for (y, x), label in np.ndenumerate(labels):
            if label != 255:
                top = float(image[:, y, x].max())
                place = min(int(np.ceil(top * BINS)) - 1, BINS - 1)
                bins.setdefault(place, []).append((top, bool(image[:, y, x].argmax() == label)))
    pixels = sum(map(len, bins.values()))
    return sum(abs(sum(r for _, r in each) - sum(p for p, _ in each)) for each in bins.values()) / pixels


def test_error_equals_definition() -> None:
    for seed in range(40):
        logits, mask = _case(seed)
        found = Calibration(_counted(logits, mask).numpy(), PROTOCOL).error
        assert found == pytest.approx(_error_by_hand(logits.numpy(), mask.numpy()), abs=1e-6)


def test_counts_add_up_bitwise_in_any_order() -> None:
    logits, mask = _case(7)
    best = logits.argmax(1)
    confidence = confidences(logits, best)
    places = [(k, slice(y, y + 3)) for k in (1, 0) for y in (6, 0, 3)]
    parts = [calibration_counts(confidence[at], best[at], mask[at], 21) for at in places]
    assert torch.equal(torch.stack(parts).sum(0), _counted(logits, mask))


def test_ignored_pixels_do_not_count() -> None:
    logits, mask = _case(3)
    counts = _counted(logits, mask)
    assert int(counts[:, 0].sum()) == int((mask != 255).sum())
    assert int(counts[:, 1].sum()) == int((mask == logits.argmax(1)).sum())
    void = Calibration(_counted(logits, torch.full_like(mask, 255)).numpy(), PROTOCOL)
    assert (void.error, void.confidence, void.accuracy) == (None, None, None)


def test_confident_network_has_error_0_if_correct_and_1_if_wrong() -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 50
    for label, error in ((1, 0.0), (2, 1.0)):
        mask = torch.full((1, 4, 4), label, dtype=torch.uint8)
        found = Calibration(_counted(logits, mask).numpy(), PROTOCOL)
        assert found.error == pytest.approx(error, abs=1e-6)
        assert found.counts[-1, 0] == 16


def test_nan_probabilities_count_as_0() -> None:
    logits, mask = torch.full((1, 3, 2, 2), torch.nan), torch.zeros(1, 2, 2, dtype=torch.uint8)
    assert _counted(logits, mask)[0].tolist() == [4, 4, 0]


def test_bin_includes_upper_limit() -> None:
    edges = torch.tensor([1 / 3, 0.2, 1.0], dtype=torch.float64).float()
    counts = calibration_counts(
        edges, torch.zeros(3, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8), 2
    )
    assert int(counts[:, 0].sum()) == 3
    assert counts[BINS - 1, 0] == 1


def test_calibration_round_trips_through_json() -> None:
    counts = _counted(*_case(5)).numpy()
    found = Calibration.from_dict(json.loads(json.dumps(Calibration(counts, PROTOCOL).as_dict())))
    assert found.protocol == PROTOCOL
    assert np.array_equal(found.counts, counts)
