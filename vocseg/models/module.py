"""LightningModule: network, loss, metrics, optimizer."""

import random
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
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

from vocseg.data.classes import ClassList, named_classes, numbered_classes
from vocseg.data.dataloader import Batch
from vocseg.errors import UserError
from vocseg.inference.tta import TTAConfig
from vocseg.losses.composite import CompositeLoss
from vocseg.losses.config import CROSS_ENTROPY_ONLY, LossConfig
from vocseg.metrics.confusion import confusion_matrices
from vocseg.metrics.epoch import SegmentationMetrics, curve_points
from vocseg.models.lightning_loops import keep_validation, load_loader_states
from vocseg.models.metadata import DESCRIPTION_KEY, description_of
from vocseg.models.network import DEFAULT_OPTIONS, build_network
from vocseg.optim.lr_schedulers import LRSchedule, ScheduleName
from vocseg.optim.optimizers import (
    EncoderFreezer,
    OptimizerConfig,
    OptimizerName,
    build_optimizer,
    clip_gradients,
)
from vocseg.performance.cuda_graph import CudaGraphCache, StepTensors, can_capture
from vocseg.performance.options import PerformanceOptions
from vocseg.utils.safe_load import SafeCheckpointMixin
from vocseg.utils.streams import logits_by_image


class SegmentationModule(SafeCheckpointMixin, LightningModule):  # type: ignore[misc]  # Lightning's is not a classmethod
    """Encoder-decoder segmentation network with a composite loss.

    Args:
        arch: Decoder, by smp's name: unet, unetplusplus, fpn, deeplabv3plus, ...
        encoder: Encoder, by smp's name: resnet34, mobilenet_v2, tu-convnext_tiny, ...
        encoder_weights: Initial encoder weights: imagenet (downloaded), a local .pth or .safetensors file, or
            null for random weights.
        num_classes: Number of classes.
        lr: Learning rate.
        optimizer: Optimizer: adam, adamw or sgd.
        weight_decay: Weight decay. Not applied to biases and normalisation parameters.
        momentum: Momentum of sgd.
        encoder_lr_mult: Multiplier on the encoder's learning rate, for example 0.1.
        freeze_encoder_epochs: Number of first epochs in which encoder weights and BatchNorm statistics are
            frozen.
        lr_scheduler: Learning-rate schedule: constant, poly (power 0.9), cosine, onecycle, or plateau (x0.1
            after 4 validations without a better mean IoU).
        warmup_fraction: Fraction of all steps with a rising learning rate. onecycle uses 0.3.
        loss: Terms of the loss and their weights.
        performance: Performance options. Results stay the same up to floating-point rounding.
    """

    def __init__(
        self,
        arch: str = "unet",
        encoder: str = "resnet34",
        encoder_weights: str | None = None,
        num_classes: PositiveInt = 21,
        lr: PositiveFloat = 1e-4,
        optimizer: OptimizerName = "adam",
        weight_decay: NonNegativeFloat = 0.0,
        momentum: ClosedUnitInterval = 0.9,
        encoder_lr_mult: NonNegativeFloat = 1.0,
        freeze_encoder_epochs: NonNegativeInt = 0,
        lr_scheduler: ScheduleName = "constant",
        warmup_fraction: ClosedUnitInterval = 0.0,
        loss: LossConfig = CROSS_ENTROPY_ONLY,
        performance: PerformanceOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__()
        # jsonargparse's numbers have types of their own, which safe loading of a checkpoint refuses.
        rates = float(lr), float(weight_decay), float(momentum), float(encoder_lr_mult)
        self.optimizer_config = OptimizerConfig(optimizer, *rates)
        self.lr_schedule = LRSchedule(lr_scheduler, float(warmup_fraction))
        self.encoder_freezer = EncoderFreezer(int(freeze_encoder_epochs))
        self.num_classes = int(num_classes)
        self.loss = CompositeLoss(loss, self.num_classes)
        # Only what defines the network: Lightning lets these override what the user types.
        self.save_hyperparameters({"arch": arch, "encoder": encoder, "num_classes": self.num_classes})
        self.network = build_network(arch, encoder, encoder_weights, self.num_classes, performance)
        self.train_metrics = SegmentationMetrics(self.num_classes)
        self.val_metrics = SegmentationMetrics(self.num_classes)
        self.class_list: ClassList = numbered_classes(self.num_classes)  # replaced by the data's in setup
        self.tta = TTAConfig()  # set by the TestTimeAugmentation callback
        self.results: dict[str, dict[str, Tensor]] = {}  # metrics of the latest epoch by stage
        self.image_size: int | None = None  # side length of the training images, in pixels
        self.loaded_from: Path | None = None  # file of the loaded weights
        self._graphs = CudaGraphCache()

    def forward(self, image: Tensor) -> Tensor:
        """Return logits float32 `[N,C,H,W]` of images uint8 `[N,3,H,W]`."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute the loss, update the training metrics and log the loss; return `StepTensors` by name."""
        self.image_size = batch["image"].shape[-1]
        single_process = self.trainer.world_size == 1
        self.encoder_freezer.before_step(self.network.encoder, self.current_epoch, single_process)
        step = self._step(batch, self.train_metrics)
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # 0: never
        due = every and not (self.trainer.global_step + 1) % every
        if due or self.trainer.should_stop:  # Lightning writes it at these steps only
            self.log("loss/train_step", step["loss"], batch_size=len(batch["index"]))
        return step

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute a batch as `training_step`, and update the validation metrics."""
        return self._step(batch, self.val_metrics)

    def _step(self, batch: Batch, metrics: SegmentationMetrics) -> dict[str, Tensor]:
        """Compute a batch, or replay the captured step on a GPU, and update the metrics."""
        capture = self.network.performance.use_cuda_graphs and can_capture(self._trainer)
        step = self._graphs(self._compute, batch["image"], batch["mask"], self.network, self.tta, capture)
        images = (batch["index"] >= 0).sum()  # fillers of the last batch have negative indices
        metrics.update(step.confusion, step.total, step.weight, images)
        return step._asdict()

    def _compute(self, image: Tensor, mask: Tensor) -> StepTensors:
        """Compute logits, loss, prediction and confusion matrices without making a GPU wait."""
        logits = self(image) if self.training else self.tta.logits(self, image)
        loss, total, weight = self.loss(logits, mask)
        prediction = logits.detach().argmax(1).to(torch.uint8)
        confusion = confusion_matrices(prediction, mask, self.num_classes)
        return StepTensors(loss, total.detach(), weight, logits.detach(), prediction, confusion)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return logits float32 `[N,C,H,W]` at the input resolution."""
        return logits_by_image(partial(self.tta.logits, self), batch["image"])

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients, unless the step was a replay, which has computed them."""
        if not self._graphs.assign_gradients():
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def gradient_norm(self) -> Tensor:
        """Return the norm of all gradients together, a scalar, float32."""
        return self._graphs.gradient_norm(self.network)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer, and a learning-rate scheduler that is stepped after each of its steps."""
        network, scaler = self.network, getattr(self.trainer.precision_plugin, "scaler", None)  # fp16 only
        clips_scaled = scaler is not None and bool(self.trainer.gradient_clip_val)
        options = network.performance.optimizer_options(network.mean.device, clips_scaled)
        optimizer = build_optimizer(self.optimizer_config, network, network.encoder, options)
        steps = self.trainer.estimated_stepping_batches if self.lr_schedule.needs_total_steps else 0
        scheduler = self.lr_schedule.scheduler(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as Lightning does, but with fused optimizers under bf16-mixed as well.

        Lightning refuses those, which only the gradient scaler of fp16 makes necessary.
        """
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            clip_gradients(optimizer, float(gradient_clip_val), gradient_clip_algorithm)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Remove the gradients of a frozen encoder."""
        self.encoder_freezer.clear_gradients(self.network.encoder, self.current_epoch)

    def setup(self, stage: str) -> None:
        """Take class names, and class weights if balanced, from the data.

        Raises:
            UserError: If network and data do not fit together, or classes cannot be counted.
        """
        self._graphs.reset()
        self.match_data(getattr(self.trainer, "datamodule", None), masks=stage != "predict")
        if stage == "fit":
            self.lr_schedule.reset()
        if self.loss.balanced and stage != "predict":
            data: Any = getattr(self.trainer, "datamodule", None)
            pixels = data.class_pixels() if hasattr(data, "class_pixels") else None
            self.loss.balance(self.trainer.strategy.broadcast(pixels))  # the same on every process

    def teardown(self, stage: str) -> None:
        """Drop captured steps, as weights are about to leave the GPU."""
        self._graphs.reset()

    def conditions(self) -> dict[str, dict[str, Any]]:
        """Return the settings that a resumed run must share, by name."""
        epochs, schedule = self.encoder_freezer.epochs, self.lr_schedule
        frozen = {"freeze_encoder_epochs": epochs} if epochs else {}
        return {
            "loss": self.loss.settings.as_plain(),
            "precision": asdict(self.network.performance),
            "optimizer": self.optimizer_config.described() | frozen,
            "schedule": {name: getattr(schedule, name) for name in ("name", "warmup", "needs_total_steps")},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the network's description, and the metric sums of an unfinished epoch on all processes."""
        checkpoint[DESCRIPTION_KEY] = description_of(self.trainer, self)
        keep_validation(self.trainer, checkpoint["loops"])
        checkpoint["epoch_sums"] = self.train_metrics.all_gather_state(self.trainer.world_size)
        checkpoint["plateau"] = self.lr_schedule.plateau_state()
        checkpoint["results"] = self.results

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added. The data's class names take precedence."""
        names = (checkpoint.get(DESCRIPTION_KEY) or {}).get("classes")
        own = isinstance(getattr(getattr(self._trainer, "datamodule", None), "classes", None), ClassList)
        if not own and isinstance(names, list) and len(names) == self.num_classes:
            self.class_list = named_classes(names, checkpoint[DESCRIPTION_KEY].get("colours"))
        if self._trainer is None:  # load_from_checkpoint
            return
        sums: dict[str, Tensor] = checkpoint.get("epoch_sums", {})
        if all(len(value) == self.trainer.world_size for value in sums.values()):
            self.train_metrics.load_state(sums, self.trainer.global_rank)
        self.lr_schedule.load_plateau(checkpoint.get("plateau"))
        self.results = checkpoint.get("results", {})

    def on_train_start(self) -> None:
        """Restore the position of DataLoaders in an interrupted epoch."""
        load_loader_states(self.trainer)

    def on_train_epoch_start(self) -> None:
        """Reset the metrics. Lightning skips this hook when it resumes within an epoch."""
        self.train_metrics.reset()

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics, as a validation may have been interrupted."""
        self.val_metrics.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout and the like by step and process, so that resume does not depend on earlier steps."""
        trainer, device = self.trainer, self.trainer.strategy.root_device
        seed = abs(getattr(getattr(trainer, "datamodule", None), "seed", 0))
        key = (seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        first, second = map(int, np.random.SeedSequence(key).generate_state(2))
        random.seed(second)
        torch.default_generator.manual_seed(first)  # torch.manual_seed visits all devices: half a millisecond
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(first)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics."""
        self._log_epoch("train", self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics and update the learning-rate schedule."""
        self._log_epoch("val", self.val_metrics)
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.lr_schedule.on_validation(float(self.results["val"]["miou"]))

    test_step, on_test_epoch_start = validation_step, on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    def _log_epoch(self, stage: Literal["train", "val"], metrics: SegmentationMetrics) -> None:
        """Compute, store, log and reset. The metrics are equal on all processes and need no sync."""
        results = metrics.compute()
        metrics.reset()
        if not self.trainer.sanity_checking:
            self.results[stage] = results
        names = self.class_list.names if stage == "val" else ()
        self.log_dict(curve_points(stage, results, names))

    def match_data(self, data: Any, masks: bool = True) -> None:
        """Check image size and (with `masks`) classes of a data module, and take its class list.

        Raises:
            UserError: If they do not match the network.
        """
        if hasattr(data, "facts"):
            self.network.check_size(data.image_size)
        classes = getattr(data, "classes", None)
        if not masks or not isinstance(classes, ClassList):
            return
        if len(classes) != self.num_classes:
            raise UserError(
                f"--model.num_classes {self.num_classes}: the masks have {len(classes)} classes. Set it to "
                f"{len(classes)}, or leave it out."
            )
        self.class_list = classes
