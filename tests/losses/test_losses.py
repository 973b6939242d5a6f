"""The terms of the loss against plain references, and what holds for each on any batch."""

from collections.abc import Callable

import pytest
import torch
from segmentation_models_pytorch.losses import LovaszLoss
from torch import Tensor
from torch.nn import functional

from vocseg.losses.composite import CompositeLoss
from vocseg.losses.config import CROSS_ENTROPY_ONLY, LossConfig

CLASSES = 7
WEIGHTS = [0.2, 1.0, 3.0, 0.5, 2.0, 1.5, 0.7]
NONE = {"cross_entropy": 0.0}

CASES: dict[str, LossConfig] = {
    "cross_entropy": CROSS_ENTROPY_ONLY,
    "weighted": LossConfig(class_weights=WEIGHTS),
    "smoothed": LossConfig(label_smoothing=0.1),
    "weighted and smoothed": LossConfig(class_weights=WEIGHTS, label_smoothing=0.1),
    "dice": LossConfig(**NONE, dice=1.0),
    "lovasz": LossConfig(**NONE, lovasz=1.0),
    "all": LossConfig(1.0, 0.5, 0.25, label_smoothing=0.05, class_weights=WEIGHTS),
}
every_loss = pytest.mark.parametrize("name", CASES)


def _case(seed: int = 0, images: int = 2) -> tuple[Tensor, Tensor]:
    """Logits `[N,7,12,12]`, and masks with void, in which classes 5 and 6 do not occur."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, CLASSES, 12, 12, generator=generator) * 2
    mask = torch.randint(0, 5, (images, 12, 12), generator=generator, dtype=torch.uint8)
    mask[:, :3, 2:] = 255
    return logits, mask


def _with_gradient(function: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone(memory_format=torch.preserve_format).requires_grad_()
    value = function(leaf)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def _loss(name: str, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    objective = CompositeLoss(CASES[name], CLASSES)
    return _with_gradient(lambda leaf: objective(leaf, mask).loss, logits)


def _reference(settings: LossConfig, logits: Tensor, mask: Tensor) -> Tensor:
    """In float64, over the labelled pixels alone, one after another as the definitions have it."""
    rows = logits.movedim(1, -1)[mask != 255].double()  # [P,C]
    labels = mask[mask != 255].long()
    log_p = rows - rows.exp().sum(1, keepdim=True).log()
    p, own = log_p.exp(), log_p[torch.arange(len(labels)), labels]
    wanted = settings.class_weights if isinstance(settings.class_weights, list) else [1.0] * CLASSES
    weights = torch.tensor(wanted, dtype=torch.float64)
    smoothing = settings.label_smoothing
    each = -(1 - smoothing) * weights[labels] * own - smoothing / CLASSES * (log_p * weights).sum(1)
    return (
        settings.cross_entropy * each.sum() / weights[labels].sum()
        + settings.dice * _mean_over_classes(_dice, p, labels)
        + settings.lovasz * _mean_over_classes(_lovasz, p, labels)
    )


def _mean_over_classes(term: Callable[[Tensor, Tensor], Tensor], p: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([term(p[:, k], labels == k) for k in labels.unique().tolist()]).mean()


def _dice(p: Tensor, truth: Tensor) -> Tensor:
    return 1 - 2 * p[truth].sum() / (p.sum() + truth.sum())


def _lovasz(p: Tensor, truth: Tensor) -> Tensor:
    """The Lovasz extension by its definition: errors in falling order, times what each adds to 1 - IoU."""
    errors = (truth.double() - p).abs()
    total, wrong, before = errors.new_zeros(()), torch.zeros_like(truth), 0.0
    for place in errors.argsort(descending=True).tolist():
        wrong[place] = True
        predicted = truth ^ wrong
        after = 1 - float((predicted & truth).sum() / (predicted | truth).sum())
        total, before = total + errors[place] * (after - before), after
    return total


@every_loss
def test_value_and_gradient_equal_plain_reference(name: str) -> None:
    logits, mask = _case()
    value, gradient = _loss(name, logits, mask)
    wanted, wanted_gradient = _with_gradient(lambda leaf: _reference(CASES[name], leaf, mask), logits)
    torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-8)


def test_default_loss_equals_cross_entropy_bitwise() -> None:
    for seed in range(20):
        logits, mask = _case(seed, images=1 + seed % 4)
        mask = torch.full_like(mask, 255) if seed == 0 else mask
        count = (mask != 255).sum()

        def plain(leaf: Tensor, mask: Tensor = mask, count: Tensor = count) -> Tensor:
            total = functional.cross_entropy(leaf, mask.long(), ignore_index=255, reduction="sum")
            return total / count.clamp(min=1)

        wanted, wanted_gradient = _with_gradient(plain, logits)
        value, gradient = _loss("cross_entropy", logits, mask)
        assert torch.equal(value, wanted)
        assert torch.equal(gradient, wanted_gradient)
        whole = CompositeLoss(CROSS_ENTROPY_ONLY, CLASSES)(logits, mask)
        assert torch.equal(whole.total, functional.cross_entropy(
            logits, mask.long(), ignore_index=255, reduction="sum"
        ))  # fmt: skip
        assert torch.equal(whole.weight, count)


def test_lovasz_over_all_classes_equals_present_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU computes it."""
    logits, mask = _case()
    wanted, wanted_gradient = _loss("lovasz", logits, mask)
    monkeypatch.setattr(
        "vocseg.losses.functional._worth_sorting", lambda shown, p: (torch.arange(len(shown)), p)
    )
    value, gradient = _loss("lovasz", logits, mask)
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(gradient, wanted_gradient)
    assert _loss("lovasz", logits, torch.full_like(mask, 255))[0] == 0


@every_loss
def test_batch_of_ignored_pixels_has_zero_loss_and_gradients(name: str) -> None:
    logits, mask = _case()
    value, gradient = _loss(name, logits, torch.full_like(mask, 255))
    assert value == 0
    assert (gradient == 0).all()
    whole = CompositeLoss(CASES[name], CLASSES)(logits, torch.full_like(mask, 255))
    assert (float(whole.total), float(whole.weight)) == (0.0, 0.0)


@every_loss
@pytest.mark.parametrize("right", [True, False])
def test_extreme_logits_give_finite_loss(name: str, right: bool) -> None:
    _, mask = _case()
    labels = torch.where(mask == 255, 0, mask.long())
    shown = labels if right else (labels + 1) % CLASSES
    logits = 1e4 * functional.one_hot(shown, CLASSES).movedim(-1, 1).float()
    value, gradient = _loss(name, logits, mask)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if right and not CASES[name].label_smoothing:
        assert value == pytest.approx(0, abs=1e-6)


@every_loss
def test_nan_logits_give_nan_loss(name: str) -> None:
    logits, mask = _case()
    logits[0, 1, 5, 5] = torch.nan
    assert not CompositeLoss(CASES[name], CLASSES)(logits, mask).loss.isfinite()


@every_loss
def test_memory_format_and_mask_type_change_nothing(name: str) -> None:
    logits, mask = _case()
    value, gradient = _loss(name, logits, mask)
    turned = logits.contiguous(memory_format=torch.channels_last)
    for other in (_loss(name, turned, mask), _loss(name, logits, mask.long())):
        torch.testing.assert_close(other[0], value)
        torch.testing.assert_close(other[1], gradient)


@every_loss
def test_half_precision_logits_give_float32_loss(name: str) -> None:
    logits, mask = _case()
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        whole = CompositeLoss(CASES[name], CLASSES)(half, mask)
    assert whole.loss.dtype == whole.total.dtype == torch.float32
    torch.testing.assert_close(whole.loss, _loss(name, half.float(), mask)[0], rtol=1e-6, atol=0)


@every_loss
def test_loss_does_not_synchronize_device(name: str) -> None:
    """Tensors without data refuse whatever has to look at them."""
    mask = torch.zeros(2, 12, 12, dtype=torch.uint8, device="meta")
    logits = torch.zeros(2, CLASSES, 12, 12, device="meta", requires_grad=True)
    CompositeLoss(CASES[name], CLASSES)(logits, mask).loss.backward()
    with pytest.raises((RuntimeError, NotImplementedError)):
        LovaszLoss("multiclass", ignore_index=255)(logits, mask)


@pytest.mark.parametrize("name", ["weighted and smoothed", "cross_entropy"])
def test_batch_sums_give_mean_over_all_pixels(name: str) -> None:
    batches = [_case(seed, images) for seed, images in ((0, 4), (1, 1), (2, 2))]
    batches[1][1][:] = 255
    batches[2][1][:, 6:] = 255
    wholes = [CompositeLoss(CASES[name], CLASSES)(logits, mask) for logits, mask in batches]
    together = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    wanted = CompositeLoss(CASES[name], CLASSES)(together[0], together[1]).loss
    total, weight = sum(each.total for each in wholes), sum(each.weight for each in wholes)
    torch.testing.assert_close(total / weight, wanted)


def test_batch_term_is_weighted_by_labelled_pixels() -> None:
    logits, mask = _case()
    whole = CompositeLoss(CASES["all"], CLASSES)(logits, mask)
    assert whole.weight == (mask != 255).sum()
    torch.testing.assert_close(whole.total / whole.weight, whole.loss)


def test_class_weights_used_in_inference_mode_can_be_trained() -> None:
    logits, mask = _case()
    objective = CompositeLoss(CASES["weighted"], CLASSES)
    with torch.inference_mode():
        objective(logits, mask)
    found = _with_gradient(lambda leaf: objective(leaf, mask).loss, logits)
    fresh = CompositeLoss(CASES["weighted"], CLASSES)
    wanted = _with_gradient(lambda leaf: fresh(leaf, mask).loss, logits)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_balanced_weights_are_capped_inverse_roots() -> None:
    objective = CompositeLoss(LossConfig(class_weights="balanced"), 5)
    objective.balance([900_000, 90_000, 9_999, 1, 0])
    assert objective.class_weights is not None
    weights = torch.tensor(objective.class_weights)
    shares = torch.tensor([0.9, 0.09, 0.009999, 0.000001, 0])
    assert float((weights * shares).sum()) == pytest.approx(1, rel=1e-3)
    assert float(weights[1] / weights[0]) == pytest.approx(10**0.5, rel=1e-3)
    median = float(weights[1] + weights[2]) / 2
    assert float(weights[3]) == pytest.approx(10 * median, rel=1e-3)
    assert float(weights[4]) == pytest.approx(median, rel=1e-3)
    objective.balance([0, 0, 0, 0, 0])  # ignored pixels only
    assert objective.class_weights == [1.0] * 5
