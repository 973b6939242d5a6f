"""Flags of test-time augmentation and sliding windows."""

from dataclasses import replace
from typing import Any

from jsonargparse.typing import PositiveFloat
from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.errors import UserError
from vocseg.inference.tta import TTAConfig
from vocseg.models.module import SegmentationModule

_LARGEST = 4.0  # a variant of 16 times the pixels


class TestTimeAugmentation(Callback):
    """Test-time augmentation: `validate`, `test` and `predict` take the mean over variants of each image.

    Each variant's logits are brought to the network's size and turned into probabilities (softmax), and these
    are averaged. Scores at both sizes, loss and calibration are those of the mean, and say so.

    Args:
        flip: Every variant also mirrored, left for right.
        scales: Variants scaled by these, such as [0.75,1,1.25]; edges are rounded to what the decoder takes.
    """

    def __init__(self, flip: bool = False, scales: tuple[PositiveFloat, ...] = (1.0,)) -> None:
        self.variants = TTAConfig(flip, tuple(float(scale) for scale in scales))
        if not scales or max(scales) > _LARGEST:
            raise UserError(
                f"--tta.scales {list(scales)}: name at least one scale, and none above {_LARGEST:g}, "
                "such as [0.75,1,1.25]"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the module see the variants when it scores or predicts; training sees the images as they are.

        Raises:
            UserError: If two scales come to the same, as the decoder takes some sizes only.
        """
        if stage in ("validate", "test", "predict") and isinstance(pl_module, SegmentationModule):
            data: Any = getattr(trainer, "datamodule", None)
            pl_module.variants = replace(self.variants, step=pl_module.network.step)
            if data is not None:
                pl_module.variants.sizes(data.image_size)
