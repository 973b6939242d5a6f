"""The LightningModule: network, loss, metrics, optimiser."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer

from vocseg.classes import ClassList, numbered_classes
from vocseg.model.execution import Execution
from vocseg.model.freezing import Freezing
from vocseg.model.losses import PLAIN, LossSettings, Objective
from vocseg.model.metrics import EpochMetrics, curve_points
from vocseg.model.network import build_network
from vocseg.model.optimization import Optimization
from vocseg.model.optimizers import OptimizerName, OptimizerSettings
from vocseg.model.schedules import Schedule, ScheduleName
from vocseg.model.step import BatchTensors, StepOutput
from vocseg.model.variants import Variants
from vocseg.model.work import Work
from vocseg.tensor_files import SafeLoading

Stage = Literal["train", "val"]

_AS_USUAL = Execution()


class SegmentationModule(SafeLoading, LightningModule):  # type: ignore[misc]  # Lightning's is no classmethod
    """Semantic segmentation with an encoder, a decoder and a sum of losses.

    Args:
        arch: smp's name of the decoder: unet, unetplusplus, fpn, deeplabv3plus, ...
        encoder: smp's name of the encoder: resnet34, mobilenet_v2, tu-convnext_tiny, ...
        encoder_weights: imagenet (fetched), a local .pth or .safetensors file, or null for random weights.
        classes: Number of classes.
        lr: Learning rate.
        optimizer: `adam`, `adamw` (weight decay apart from the gradient) or `sgd`.
        weight_decay: Of weights; never of biases and of what norms learn.
        momentum: Of `sgd`.
        encoder_lr_factor: The encoder's learning rate in parts of `lr`; 0.1 spares what it has learnt before.
        freeze_encoder: Epochs from the first in which the encoder, with its BatchNorm statistics, stays as it
            is.
        schedule: What becomes of it: `constant`; `poly` (to the power 0.9), `cosine` and `onecycle` fall to
            nearly nothing by the last step; `plateau` is a tenth from when validation's mIoU stays.
        warmup: Share of all steps in which the learning rate rises from nearly nothing; `onecycle`: 0.3.
        loss: What to minimise: terms with their weights.
        execution: How the network is computed: the same figures, but for rounding, in another time.
    """

    def __init__(
        self,
        arch: str = "unet",
        encoder: str = "resnet34",
        encoder_weights: str | None = None,
        classes: PositiveInt = 21,
        lr: PositiveFloat = 1e-4,
        optimizer: OptimizerName = "adam",
        weight_decay: NonNegativeFloat = 0.0,
        momentum: ClosedUnitInterval = 0.9,
        encoder_lr_factor: NonNegativeFloat = 1.0,
        freeze_encoder: NonNegativeInt = 0,
        schedule: ScheduleName = "constant",
        warmup: ClosedUnitInterval = 0.0,
        loss: LossSettings = PLAIN,
        execution: Execution = _AS_USUAL,
    ) -> None:
        super().__init__()
        # jsonargparse's numbers are of types of its own, which a safely read file must not hold.
        rates = float(lr), float(weight_decay), float(momentum), float(encoder_lr_factor)
        settings = OptimizerSettings(optimizer, *rates)
        self.optimization = Optimization(
            settings, Freezing(int(freeze_encoder)), Schedule(schedule, float(warmup))
        )
        self.classes = int(classes)
        self.objective = Objective(loss, self.classes)
        # Only what shapes the network: Lightning lets these overrule what the user types.
        self.save_hyperparameters({"arch": arch, "encoder": encoder, "classes": self.classes})
        self.network = build_network(arch, encoder, encoder_weights, self.classes, execution)
        self.train_metrics, self.val_metrics = EpochMetrics(self.classes), EpochMetrics(self.classes)
        self.class_list: ClassList = numbered_classes(self.classes)  # the trainer puts the data's here
        self.variants = Variants()  # as which images are scored: a callback puts others here
        self.results: dict[str, dict[str, Tensor]] = {}  # the newest epoch's figures by stage
        self.loaded_from: Path | None = None  # the file that the trainer filled the network from
        self._work = Work(self, self.network, self.objective, self.classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits float32 `[N,C,H,W]` of uint8 images `[N,3,H,W]`."""
        logits: Tensor = self.network(image)
        return logits

    def setup(self, stage: str) -> None:
        """Weigh the classes by how often the training images show them, where that is asked for.

        Raises:
            UserError: If nobody can count them.
        """
        self._work.forget()
        if self.objective.balanced and stage != "predict":
            data: Any = getattr(self.trainer, "datamodule", None)
            pixels = data.class_pixels() if hasattr(data, "class_pixels") else None
            self.objective.balance(self.trainer.strategy.broadcast(pixels))  # the same on every process

    def teardown(self, stage: str) -> None:
        """Weights are about to leave the GPU."""
        self._work.forget()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser, and a schedule by the step."""
        return self.optimization.configure(self.network, self.trainer)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """A frozen encoder has no gradient."""
        self.optimization.freezing.drop(self.network.encoder, self.current_epoch)

    def conditions(self) -> dict[str, dict[str, Any]]:
        """What a run that goes on must have in common with itself, by name."""
        execution = asdict(self.network.execution)
        return {
            "loss": self.objective.settings.as_plain(),
            "precision": execution,
        } | self.optimization.conditions()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's sums so far, of every process: a figure over half an epoch is no figure."""
        world = self.trainer.world_size
        checkpoint["epoch_sums"] = self.train_metrics.gathered(world)
        checkpoint["plateau"] = self.optimization.schedule.plateau_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from them."""
        sums: dict[str, Tensor] = checkpoint.get("epoch_sums", {})
        if self._trainer is None:  # rebuilt from the file alone
            return
        if all(len(value) == self.trainer.world_size for value in sums.values()):
            self.train_metrics.restore(sums, self.trainer.global_rank)
        self.optimization.schedule.load_plateau(checkpoint.get("plateau"))

    def training_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Loss of a batch; see `StepOutput`."""
        self.optimization.freezing.apply(
            self.network.encoder, self.current_epoch, self.trainer.world_size == 1
        )
        output = self._step(batch, self.train_metrics)
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # 0: never
        if every and not (self.trainer.global_step + 1) % every:  # else nobody writes it down
            self.log("loss/train_step", output["loss"], batch_size=len(batch["index"]))
        return output

    def validation_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Scores a batch; see `StepOutput`."""
        return self._step(batch, self.val_metrics)

    def test_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Scores a batch; see `StepOutput`."""
        return self._step(batch, self.val_metrics)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Gradients of the loss; a step that was replayed has made them already."""
        if not self._work.hand_over():
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def gradient_norm(self) -> Tensor:
        """Of all gradients together, a scalar, float32; no finite number if one of them is not."""
        return self._work.gradient_norm()

    def predict_step(self, batch: BatchTensors, batch_idx: int) -> Tensor:
        """Logits float32 `[N,C,H,W]`: whoever writes them brings them to the picture's own size first."""
        return self.variants.logits(self, batch["image"])

    def on_train_epoch_end(self) -> None:
        """Log the training figures of the epoch."""
        self._close("train", self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation figures of the epoch, and let the schedule look at them."""
        self._close("val", self.val_metrics)
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.optimization.schedule.judge(float(self.results["val"]["miou"]))

    def on_test_epoch_end(self) -> None:
        """Log the figures."""
        self._close("val", self.val_metrics)

    def _step(self, batch: BatchTensors, metrics: EpochMetrics) -> StepOutput:
        computed = self._work(batch["image"], batch["mask"], self.variants, self._trainer)
        metrics.update(computed.confusion, computed.total, computed.weight, (batch["index"] >= 0).sum())
        return {
            "loss": computed.loss,
            "logits": computed.logits,
            "prediction": computed.prediction,
            "confusion": computed.confusion,
        }

    def _close(self, stage: Stage, metrics: EpochMetrics) -> None:
        """Compute, keep, log, reset. The figures are the same on every process, so none needs syncing."""
        figures = metrics.compute()
        metrics.reset()
        self.results[stage] = figures
        names = self.class_list.names if stage == "val" else ()
        self.log_dict(curve_points(stage, figures, names))
