"""LightningModule: network, loss, metrics, optimizer."""

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

from vocseg.data.batch import BatchTensors
from vocseg.data.classes import ClassList, named_classes, numbered_classes
from vocseg.errors import UserError
from vocseg.inference.tta import TTAConfig
from vocseg.losses.composite import CompositeLoss
from vocseg.losses.config import CROSS_ENTROPY_ONLY, LossConfig
from vocseg.metrics.epoch import SegmentationMetrics, curve_points
from vocseg.models.lightning_loops import keep_validation, load_loader_states
from vocseg.models.metadata import DESCRIPTION_KEY, description_of, facts_source
from vocseg.models.network import build_network
from vocseg.models.optimization import OptimConfig
from vocseg.models.step_output import StepOutput
from vocseg.models.step_runner import StepRunner
from vocseg.models.step_seed import seed_step
from vocseg.optim.encoder_freezing import EncoderFreezer
from vocseg.optim.lr_schedulers import LRSchedule, ScheduleName
from vocseg.optim.optimizers import OptimizerConfig, OptimizerName
from vocseg.performance.graph_update import StepUpdate, clip_gradients, step_update
from vocseg.performance.options import PerformanceOptions
from vocseg.utils.safe_load import SafeCheckpointMixin

Stage = Literal["train", "val"]

_AS_USUAL = PerformanceOptions()


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
        performance: PerformanceOptions = _AS_USUAL,
    ) -> None:
        super().__init__()
        # jsonargparse's numbers are of types of its own, which a safely read file must not hold.
        rates = float(lr), float(weight_decay), float(momentum), float(encoder_lr_mult)
        settings = OptimizerConfig(optimizer, *rates)
        self.optimization = OptimConfig(
            settings,
            EncoderFreezer(int(freeze_encoder_epochs)),
            LRSchedule(lr_scheduler, float(warmup_fraction)),
        )
        self.num_classes = int(num_classes)
        self.loss = CompositeLoss(loss, self.num_classes)
        # Only what shapes the network: Lightning lets these overrule what the user types.
        self.save_hyperparameters({"arch": arch, "encoder": encoder, "num_classes": self.num_classes})
        self.network = build_network(arch, encoder, encoder_weights, self.num_classes, performance)
        self.train_metrics, self.val_metrics = (
            SegmentationMetrics(self.num_classes),
            SegmentationMetrics(self.num_classes),
        )
        self.class_list: ClassList = numbered_classes(self.num_classes)  # until the data's are known
        self.variants = TTAConfig()  # as which images are scored: a callback puts others here
        self.results: dict[str, dict[str, Tensor]] = {}  # the newest epoch's figures by stage
        self.image_size: int | None = None  # edge of what it learns from, in pixels
        self.loaded_from: Path | None = None  # the file that the trainer filled the network from
        self._work = StepRunner(self, self.network, self.loss, self.num_classes)
        self._update: tuple[Any, StepUpdate | None] = None, None  # with what it was made for

    def forward(self, image: Tensor) -> Tensor:
        """Logits float32 `[N,C,H,W]` of uint8 images `[N,3,H,W]`."""
        logits: Tensor = self.network(image)
        return logits

    def setup(self, stage: str) -> None:
        """Take the classes' names from the data, and weigh them by how often they occur if asked for.

        Raises:
            UserError: If network and data do not go together, or nobody can count the classes.
        """
        self._forget()
        self._check_data(stage)
        if stage == "fit":
            self.optimization.schedule.reset()
        if self.loss.balanced and stage != "predict":
            data: Any = getattr(self.trainer, "datamodule", None)
            pixels = data.class_pixels() if hasattr(data, "class_pixels") else None
            self.loss.balance(self.trainer.strategy.broadcast(pixels))  # the same on every process

    def teardown(self, stage: str) -> None:
        """Weights are about to leave the GPU."""
        self._forget()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser, and a schedule by the step."""
        return self.optimization.configure(self.network, self.trainer)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """A frozen encoder has no gradient."""
        self.optimization.freezing.clear_gradients(self.network.encoder, self.current_epoch)

    def conditions(self) -> dict[str, dict[str, Any]]:
        """What a run that goes on must have in common with itself, by name."""
        execution = asdict(self.network.execution)
        return {
            "loss": self.loss.settings.as_plain(),
            "precision": execution,
        } | self.optimization.conditions()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the network is, and keep the epoch's sums so far, of every process.

        A figure over half an epoch is no figure.
        """
        checkpoint[DESCRIPTION_KEY] = description_of(self.trainer, self)
        keep_validation(self.trainer, checkpoint["loops"])
        world = self.trainer.world_size
        checkpoint["epoch_sums"] = self.train_metrics.all_gather_state(world)
        checkpoint["plateau"] = self.optimization.schedule.plateau_state()
        checkpoint["results"] = self.results

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from them; the classes are the data's, or if it names none the file's."""
        names = (checkpoint.get(DESCRIPTION_KEY) or {}).get("classes")
        if _class_list(self._trainer) is None and isinstance(names, list) and len(names) == self.num_classes:
            self.class_list = named_classes(names, checkpoint[DESCRIPTION_KEY].get("colours"))
        sums: dict[str, Tensor] = checkpoint.get("epoch_sums", {})
        if self._trainer is None:  # rebuilt from the file alone
            return
        if all(len(value) == self.trainer.world_size for value in sums.values()):
            self.train_metrics.load_state(sums, self.trainer.global_rank)
        self.optimization.schedule.load_plateau(checkpoint.get("plateau"))
        self.results = checkpoint.get("results", {})

    def on_train_start(self) -> None:
        """Go on in the midst of an epoch, if the run was broken off there."""
        load_loader_states(self.trainer)

    def on_train_epoch_start(self) -> None:
        """Forget an epoch that was broken off; one that is gone on with does not come here."""
        self.train_metrics.reset()

    def on_validation_epoch_start(self) -> None:
        """Forget a validation that was broken off."""
        self.val_metrics.reset()

    def on_test_epoch_start(self) -> None:
        """Forget a validation that was broken off."""
        self.val_metrics.reset()

    def on_train_batch_start(self, batch: BatchTensors, batch_idx: int) -> None:
        """Seed the step, on every process in its own way."""
        trainer = self.trainer
        seed = getattr(getattr(trainer, "datamodule", None), "seed", 0)
        device = trainer.strategy.root_device
        seed_step(seed, trainer.current_epoch, batch_idx, trainer.global_rank, device)

    def training_step(self, batch: BatchTensors, batch_idx: int) -> StepOutput:
        """Loss of a batch; see `StepOutput`."""
        self.image_size = batch["image"].shape[-1]
        self.optimization.freezing.before_step(
            self.network.encoder, self.current_epoch, self.trainer.world_size == 1
        )
        output = self._step(batch, self.train_metrics, self._after_gradients())
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # 0: never
        due = every and not (self.trainer.global_step + 1) % every
        if due or self.trainer.should_stop:  # when Lightning writes it
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
        if not self._work.assign_gradients():
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Drop old gradients; a captured step overwrites its own."""
        if not self._work.took_step:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, unless a captured step has done so.

        Not by Lightning, which refuses fused optimizers under mixed precision: that is needed for the scaler
        of fp16 alone.
        """
        if self._work.took_step or not gradient_clip_val:
            return
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        kind = getattr(gradient_clip_algorithm, "value", gradient_clip_algorithm) or "norm"
        clip_gradients(parameters, kind, float(gradient_clip_val))

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
            self.optimization.schedule.on_validation(float(self.results["val"]["miou"]))

    def on_test_epoch_end(self) -> None:
        """Log the figures."""
        self._close("val", self.val_metrics)

    def _check_data(self, stage: str) -> None:
        """See that the network can take the images, and take their classes' names."""
        data, classes = facts_source(self.trainer), _class_list(self.trainer)
        if data is not None:
            self.network.check_size(data.image_size)
        if stage == "predict" or classes is None:  # pictures to predict have no masks
            return
        if len(classes) != self.num_classes:
            raise UserError(f"--model.num_classes {self.num_classes}: the masks hold {len(classes)} classes")
        if classes.names != self.class_list.names:
            self.class_list = classes

    def _after_gradients(self) -> StepUpdate | None:
        """What follows the gradients of a training step, for a capture; None: Lightning's loop does it."""
        if len(optimizers := self.trainer.optimizers) != 1 or not self.network.execution.use_cuda_graphs:
            return None
        made_for = optimizers[0], len(optimizers[0].param_groups)
        if self._update[0] != made_for:
            self._update = made_for, step_update(self, optimizers[0], self.train_metrics, self.trainer)
        return self._update[1]

    def _forget(self) -> None:
        """Drop captured steps: weights may move to other places in memory."""
        self._work.reset()
        self._update = None, None

    def _step(
        self, batch: BatchTensors, metrics: SegmentationMetrics, update: StepUpdate | None = None
    ) -> StepOutput:
        computed = self._work(batch, self.variants, self._trainer, update)
        if not (self.training and self._work.took_step):  # else it is counted already
            metrics.update(computed.confusion, computed.total, computed.weight, (batch["index"] >= 0).sum())
        return {
            "loss": computed.loss,
            "logits": computed.logits,
            "prediction": computed.prediction,
            "confusion": computed.confusion,
        }

    def _close(self, stage: Stage, metrics: SegmentationMetrics) -> None:
        """Compute, keep, log, reset. The figures are the same on every process, so none needs syncing."""
        figures = metrics.compute()
        metrics.reset()
        if not self.trainer.sanity_checking:  # a few batches are no score
            self.results[stage] = figures
        names = self.class_list.names if stage == "val" else ()
        self.log_dict(curve_points(stage, figures, names))


def _class_list(trainer: Any) -> ClassList | None:
    """The classes that a trainer's data names."""
    classes = getattr(getattr(trainer, "datamodule", None), "classes", None)
    return classes if isinstance(classes, ClassList) else None
