"""LightningModule: network, loss, metrics, optimizer."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

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
from vocseg.models.metadata import DESCRIPTION_KEY, description_of, facts_source
from vocseg.models.network import build_network
from vocseg.models.step_seed import seed_step
from vocseg.optim.lr_schedulers import LRSchedule, ScheduleName
from vocseg.optim.optimizers import EncoderFreezer, OptimizerConfig, OptimizerName, build_optimizer
from vocseg.performance.cuda_graph import CudaGraphCache, StepTensors, can_capture
from vocseg.performance.options import PerformanceOptions
from vocseg.utils.safe_load import SafeCheckpointMixin
from vocseg.utils.streams import logits_by_image

_DEFAULT_OPTIONS = PerformanceOptions()


class StepOutput(TypedDict):
    """What callbacks get of a step.

    Attributes:
        loss: Scalar, float32.
        logits: float32 `[N,C,H,W]`.
        prediction: Class indices, uint8 `[N,H,W]`.
        confusion: Confusion matrix of each image, int64 `[N,C,C]`.
    """

    loss: Tensor
    logits: Tensor
    prediction: Tensor
    confusion: Tensor


class SegmentationModule(SafeCheckpointMixin, LightningModule):  # type: ignore[misc]  # Lightning's is no classmethod
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
        performance: PerformanceOptions = _DEFAULT_OPTIONS,
    ) -> None:
        super().__init__()
        # jsonargparse's numbers have types of their own, which safe loading of a checkpoint refuses.
        rates = float(lr), float(weight_decay), float(momentum), float(encoder_lr_mult)
        self.optimizer_config = OptimizerConfig(optimizer, *rates)
        self.optimizer_config.check()
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

    def training_step(self, batch: Batch, batch_idx: int) -> StepOutput:
        """Compute the loss of a batch and update the training metrics."""
        self.image_size = batch["image"].shape[-1]
        single_process = self.trainer.world_size == 1
        self.encoder_freezer.before_step(self.network.encoder, self.current_epoch, single_process)
        output = self._step(batch, self.train_metrics)
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # 0: never
        due = every and not (self.trainer.global_step + 1) % every
        if due or self.trainer.should_stop:  # Lightning writes it at these steps only
            self.log("loss/train_step", output["loss"], batch_size=len(batch["index"]))
        return output

    def validation_step(self, batch: Batch, batch_idx: int) -> StepOutput:
        """Update the validation metrics with a batch."""
        return self._step(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> StepOutput:
        """Update the metrics with a batch."""
        return self._step(batch, self.val_metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return logits float32 `[N,C,H,W]` at the input resolution."""
        return logits_by_image(partial(self.tta.logits, self), batch["image"])

    def _step(self, batch: Batch, metrics: SegmentationMetrics) -> StepOutput:
        """Compute a batch, or replay the captured step on a GPU, and update the metrics."""
        image, mask = batch["image"], batch["mask"]
        if not self.network.performance.use_cuda_graphs or not can_capture(self._trainer):
            tensors = self._graphs.eager(self._compute, image, mask)
        elif self.training:
            tensors = self._graphs.train(self._compute, image, mask, self.network)
        else:
            tensors = self._graphs.evaluate(self._compute, image, mask, self.tta)
        counted = (batch["index"] >= 0).sum()  # fillers of the last batch have negative indices
        metrics.update(tensors.confusion, tensors.total, tensors.weight, counted)
        return {
            "loss": tensors.loss,
            "logits": tensors.logits,
            "prediction": tensors.prediction,
            "confusion": tensors.confusion,
        }

    def _compute(self, image: Tensor, mask: Tensor) -> StepTensors:
        """Compute logits, loss, prediction and confusion matrices without making a GPU wait."""
        logits = self(image) if self.training else self.tta.logits(self, image)
        loss = self.loss(logits, mask)
        prediction = logits.detach().argmax(1).to(torch.uint8)
        confusion = confusion_matrices(prediction, mask, self.num_classes)
        return StepTensors(loss.loss, loss.total, loss.weight, logits.detach(), prediction, confusion)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients, unless the step was a replay, which has computed them."""
        if not self._graphs.assign_gradients():
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def gradient_norm(self) -> Tensor:
        """Return the norm of all gradients together, a scalar, float32."""
        return self._graphs.gradient_norm(self.network)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer, and a learning-rate scheduler that is stepped after each of its steps.

        Raises:
            UserError: If the schedule needs the number of all steps and the run has no end.
        """
        network, scaler = self.network, getattr(self.trainer.precision_plugin, "scaler", None)  # fp16 only
        clips_scaled = scaler is not None and bool(self.trainer.gradient_clip_val)
        options = network.performance.optimizer_options(network.mean.device, clips_scaled)
        optimizer = build_optimizer(self.optimizer_config, network, network.encoder, options)
        steps = 0
        if self.lr_schedule.needs_total_steps:
            if self.trainer.estimated_stepping_batches == float("inf"):
                name = self.lr_schedule.name
                raise UserError(f"--model.lr_scheduler {name} needs an end: set --trainer.max_epochs")
            steps = int(self.trainer.estimated_stepping_batches)
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
        if not gradient_clip_val:
            return
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if getattr(gradient_clip_algorithm, "value", gradient_clip_algorithm) == "value":
            torch.nn.utils.clip_grad_value_(parameters, float(gradient_clip_val))
        else:
            torch.nn.utils.clip_grad_norm_(parameters, float(gradient_clip_val))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Remove the gradients of a frozen encoder."""
        self.encoder_freezer.clear_gradients(self.network.encoder, self.current_epoch)

    def setup(self, stage: str) -> None:
        """Take class names, and class weights if balanced, from the data.

        Raises:
            UserError: If network and data do not fit together, or classes cannot be counted.
        """
        self._graphs.reset()
        self._check_data(stage)
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
        if _class_list(self._trainer) is None and isinstance(names, list) and len(names) == self.num_classes:
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

    def on_test_epoch_start(self) -> None:
        """Reset the metrics, as a validation may have been interrupted."""
        self.val_metrics.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step's random state, differently on every process."""
        trainer = self.trainer
        seed = getattr(getattr(trainer, "datamodule", None), "seed", 0)
        device = trainer.strategy.root_device
        seed_step(seed, trainer.current_epoch, batch_idx, trainer.global_rank, device)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics."""
        self._log_epoch("train", self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics and update the learning-rate schedule."""
        self._log_epoch("val", self.val_metrics)
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.lr_schedule.on_validation(float(self.results["val"]["miou"]))

    def on_test_epoch_end(self) -> None:
        """Log the metrics."""
        self._log_epoch("val", self.val_metrics)

    def _log_epoch(self, stage: Literal["train", "val"], metrics: SegmentationMetrics) -> None:
        """Compute, store, log and reset. The metrics are equal on all processes and need no sync."""
        results = metrics.compute()
        metrics.reset()
        if not self.trainer.sanity_checking:
            self.results[stage] = results
        names = self.class_list.names if stage == "val" else ()
        self.log_dict(curve_points(stage, results, names))

    def _check_data(self, stage: str) -> None:
        """Check the image size, and take the class names."""
        data, classes = facts_source(self.trainer), _class_list(self.trainer)
        if data is not None:
            self.network.check_size(data.image_size)
        if stage == "predict" or classes is None:  # images to predict have no masks
            return
        if len(classes) != self.num_classes:
            raise UserError(f"--model.num_classes {self.num_classes}: the masks hold {len(classes)} classes")
        if classes.names != self.class_list.names:
            self.class_list = classes


def _class_list(trainer: Any) -> ClassList | None:
    """The classes of a trainer's data module."""
    classes = getattr(getattr(trainer, "datamodule", None), "classes", None)
    return classes if isinstance(classes, ClassList) else None
