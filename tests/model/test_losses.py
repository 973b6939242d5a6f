"""The loss."""

import torch
from torch.nn import functional

from vocseg.model.losses import cross_entropy


def _case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 21, 16, 16, generator=generator) * 4
    mask = torch.randint(0, 21, (2, 16, 16), generator=generator, dtype=torch.uint8)
    mask[:, :4] = 255
    return logits, mask


def test_it_is_torchs_mean_over_labelled_pixels() -> None:
    logits, mask = _case()
    total, pixels = cross_entropy(logits, mask)
    reference = functional.cross_entropy(logits, mask.long(), ignore_index=255)
    assert pixels == 2 * 12 * 16
    torch.testing.assert_close(total / pixels, reference)


def test_a_batch_without_a_labelled_pixel_gives_zero_and_zero_gradients() -> None:
    logits, mask = _case()
    logits.requires_grad_()
    total, pixels = cross_entropy(logits, torch.full_like(mask, 255))
    (total / pixels.clamp(min=1)).backward()
    assert (float(total), int(pixels)) == (0.0, 0)
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_half_precision_logits_are_summed_in_full_precision() -> None:
    logits, mask = _case()
    with torch.autocast("cpu", torch.bfloat16):
        total, pixels = cross_entropy(logits.bfloat16(), mask)
    reference = functional.cross_entropy(logits.bfloat16().float(), mask.long(), ignore_index=255)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total / pixels, reference, rtol=1e-6, atol=0)
