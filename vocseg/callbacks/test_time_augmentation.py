"""Flags of test-time augmentation."""

from dataclasses import replace

from jsonargparse.typing import PositiveFloat
from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.errors import UserError
from vocseg.inference.tta import TTAConfig
from vocseg.models.module import SegmentationModule

_MAX_SCALE = 4.0  # 16 times the pixels


class TestTimeAugmentation(Callback):
    """Test-time augmentation in `validate`, `test` and `predict`: mean probabilities over image variants.

    Each variant's logits are resized to the input resolution before the softmax.

    Args:
        flip: Horizontal flip of every variant as an additional variant.
        scales: Scales of the variants, such as [0.75,1,1.25], at most 4. Side lengths are rounded to
            multiples that the decoder supports.
    """

    def __init__(self, flip: bool = False, scales: tuple[PositiveFloat, ...] = (1.0,)) -> None:
        self.config = TTAConfig(flip, tuple(float(scale) for scale in scales))
        if not scales or max(scales) > _MAX_SCALE:
            raise UserError(
                f"--tta.scales {list(scales)} is out of range. Give at least one scale, and none above "
                f"{_MAX_SCALE:g}, such as [0.75,1,1.25]."
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the module's variants. Training uses the images as they are."""
        if stage in ("validate", "test", "predict") and isinstance(pl_module, SegmentationModule):
            pl_module.tta = replace(self.config, step=pl_module.network.step)
