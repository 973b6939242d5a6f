"""The LightningModule: network, loss, metrics, optimiser."""

import math
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from vocseg.classes import ClassList, numbered_classes
from vocseg.errors import UserError
from vocseg.model.losses import cross_entropy
from vocseg.model.metrics import EpochMetrics
from vocseg.model.network import build_network
from vocseg.model.schedules import Schedule, ScheduleName
from vocseg.model.variants import Variants
from vocseg.scores import confusion_matrices
from vocseg.tensor_files import SafeLoading

Stage = Literal["train", "val"]

_PLAIN = Variants()  # the image alone


class BatchTensors(TypedDict):
    """The batch as `vocseg.data` ships it."""

    image: Tensor
    mask: Tensor
    index: Tensor


class StepOutput(TypedDict):
    """What callbacks get.

    The loss, logits float32 `[N,C,H,W]`, predicted classes uint8 `[N,H,W]` and confusion matrices int64
    `[N,C,C]`.
    """

    loss: Tensor
    logits: Tensor
    prediction: Tensor
    confusion: Tensor


class SegmentationModule(SafeLoading, LightningModule):  # type: ignore[misc]  # Lightning's is no classmethod
    """Semantic segmentation with cross-entropy and Adam.

    Args:
        arch: smp's name of the decoder: unet, unetplusplus, fpn, deeplabv3plus, ...
        encoder: smp's name of the encoder: resnet34, mobilenet_v2, tu-convnext_tiny, ...
        encoder_weights: imagenet (fetched), a local .pth or .safetensors file, or null for random weights.
        classes: Number of classes.
        lr: Adam's learning rate.
        schedule: What becomes of it: `constant`; `poly` (to the power 0.9), `cosine` and `onecycle` fall to
            nearly nothing by the last step; `plateau` is a tenth from when validation's mIoU stays.
        warmup: Share of all steps in which the learning rate rises from nearly nothing; `onecycle`: 0.3.
    """

    def __init__(
        self,
        arch: str = "unet",
        encoder: str = "resnet34",
        encoder_weights: str | None = None,
        classes: PositiveInt = 21,
        lr: PositiveFloat = 1e-4,
        schedule: ScheduleName = "constant",
        warmup: ClosedUnitInterval = 0.0,
    ) -> None:
        super().__init__()
        if not math.isfinite(lr):  # YAML has .inf, and 1e999 is read as that
            raise UserError(f"--model.lr {lr}: a learning rate is a finite number above 0")
        # jsonargparse's numbers are of types of its own, which a safely read file must not hold.
        self.lr, self.classes, self.schedule = float(lr), int(classes), Schedule(schedule, float(warmup))
        # Only what shapes the network: Lightning lets these overrule what the user types.
        self.save_hyperparameters({"arch": arch, "encoder": encoder, "classes": self.classes})
        self.network = build_network(arch, encoder, encoder_weights, self.classes)
        self.train_metrics, self.val_metrics = EpochMetrics(self.classes), EpochMetrics(self.classes)
        self.class_list: ClassList = numbered_classes(self.classes)  # the trainer puts the data's here
        self.variants = _PLAIN  # as which images are scored: a callback puts others here
        self.results: dict[str, dict[str, Tensor]] = {}  # the newest epoch's figures by stage
        self.loaded_from: Path | None = None  # the file that the trainer filled the network from

    def forward(self, image: Tensor) -> Tensor:
        """Logits float32 `[N,C,H,W]` of uint8 images `[N,3,H,W]`."""
        logits: Tensor = self.network(image)
        return logits

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam over all parameters, and a schedule by the step."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        scheduler = self.schedule.scheduler(optimizer, self._steps() if self.schedule.ends else 0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def optimizer_settings(self) -> dict[str, Any]:
        """What a run that goes on must have in common with itself."""
        return {"name": "Adam", "lr": self.lr}

    def schedule_settings(self) -> dict[str, Any]:
        """The same of the schedule."""
        return {"name": self.schedule.name, "warmup": self.schedule.warmup, "ends": self.schedule.ends}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's sums so far, of every process: a figure over half an epoch is no figure."""
        world = self.trainer.world_size
        checkpoint["epoch_sums"] = {
            name: _gathered(value, world).cpu() for name, value in self.train_metrics.sums().items()
        }
        checkpoint["plateau"] = self.schedule.plateau_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from them."""
        sums: dict[str, Tensor] = checkpoint.get("epoch_sums", {})
        if self._trainer is None:  # rebuilt from the file alone
            return
        if all(len(value) == self.trainer.world_size for value in sums.values()):
            rank = self.trainer.global_rank
            self.train_metrics.restore({name: value[rank] for name, value in sums.items()})
        self.schedule.load_plateau(checkpoint.get("plateau"))

    def training_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Loss of a batch; see `StepOutput`."""
        output = self._step(batch, self.train_metrics)
        self.log("loss/train_step", output["loss"], prog_bar=True, batch_size=len(batch["index"]))
        return output

    def validation_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Scores a batch; see `StepOutput`."""
        return self._step(batch, self.val_metrics, self.variants)

    def test_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Scores a batch; see `StepOutput`."""
        return self._step(batch, self.val_metrics, self.variants)

    def predict_step(self, batch: BatchTensors, batch_idx: int) -> Tensor:
        """Logits float32 `[N,C,H,W]`: whoever writes them brings them to the picture's own size first."""
        return self.forward(batch["image"])

    def on_train_epoch_end(self) -> None:
        """Log the training figures of the epoch."""
        self._close("train", self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation figures of the epoch, and let the schedule look at them."""
        self._close("val", self.val_metrics)
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.schedule.judge(float(self.results["val"]["miou"]))

    def on_test_epoch_end(self) -> None:
        """Log the figures."""
        self._close("val", self.val_metrics)

    def _steps(self) -> int:
        """Steps of the whole run."""
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise UserError(f"--model.schedule {self.schedule.name} needs an end: set --trainer.max_epochs")
        return int(steps)

    def _step(self, batch: BatchTensors, metrics: EpochMetrics, variants: Variants = _PLAIN) -> StepOutput:
        logits = variants.logits(self, batch["image"])  # [N,C,H,W]
        loss_sum, pixels = cross_entropy(logits, batch["mask"])
        prediction = logits.detach().argmax(1).to(torch.uint8)  # [N,H,W]
        confusion = confusion_matrices(prediction, batch["mask"], self.classes)
        metrics.update(confusion, loss_sum, pixels, (batch["index"] >= 0).sum())
        return {
            "loss": loss_sum / pixels.clamp(min=1),
            "logits": logits.detach(),
            "prediction": prediction,
            "confusion": confusion,
        }

    def _close(self, stage: Stage, metrics: EpochMetrics) -> None:
        """Compute, keep, log, reset. The figures are the same on every process, so none needs syncing."""
        figures = metrics.compute()
        metrics.reset()
        self.results[stage] = figures
        for name in ("loss", "miou", "pixel_accuracy"):
            self.log(f"{name}/{stage}", figures[name].float())
        if stage == "val":
            ious = zip(self.class_list.names, figures["class_iou"], strict=True)
            present = {name: iou.float() for name, iou in ious if not iou.isnan()}
            self.log_dict({f"per_class_iou/{name}": iou for name, iou in present.items()})


def _gathered(value: Tensor, world: int) -> Tensor:
    """A figure of every process, `[processes, ...]`."""
    if world == 1:
        return value[None]
    parts = [torch.empty_like(value) for _ in range(world)]
    torch.distributed.all_gather(parts, value.contiguous())
    return torch.stack(parts)
