"""Lightning's Trainer with one verb more, and tables at the end of those that score."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.profilers import PassThroughProfiler

from vocseg.callbacks.best_weights import BestWeights
from vocseg.callbacks.per_image_metrics import newest_image_scores
from vocseg.checkpoints.io import is_full_checkpoint, read_checkpoint, with_atomic_checkpoints
from vocseg.checkpoints.resume import Scores, is_finished, scores_before
from vocseg.checkpoints.weights import WEIGHTS_NAME
from vocseg.commands.results import report_finetuning, report_predictions, report_scores, report_training, say
from vocseg.commands.tune import Wanted, find_batch_size, find_learning_rate
from vocseg.config.initial_weights import (
    OWN_WORDS,
    begin_with_other_classes,
    load_initial_weights,
    validate_class_count,
)
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError
from vocseg.models.metadata import newest_score
from vocseg.models.module import SegmentationModule

_NOTHING = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Profiles nothing. Lightning's own enters a generator for every hook of every callback in every step."""

    def profile(self, action_name: str) -> Any:
        """A context that does nothing.

        Args:
            action_name: See Lightning.
        """
        return _NOTHING


class Trainer(lightning.Trainer):
    """Lightning's Trainer; where it takes a checkpoint for its weights alone, `unet_voc.pth` will do."""

    def __init__(self, *args: Any, use_distributed_sampler: bool = False, **kwargs: Any) -> None:
        """Everything as in Lightning.

        Args:
            args: See Lightning.
            use_distributed_sampler: Off: our orders share the images out, and repeat none.
            kwargs: See Lightning.
        """
        if use_distributed_sampler:
            raise UserError(
                "--trainer.use_distributed_sampler true: the images are shared out already; leave it out"
            )
        kwargs["plugins"] = with_atomic_checkpoints(kwargs.get("plugins"))
        if not kwargs.get("barebones"):  # which refuses every profiler
            kwargs["profiler"] = kwargs.get("profiler") or NoProfiler()
        super().__init__(*args, use_distributed_sampler=False, **kwargs)
        self.resumed: Path | None = None  # the checkpoint of a run that goes on
        self.figures: dict[str, Any] | None = None  # what the verb found, for --json
        self.exit_code = 0  # 1: the verb did its work, but for some images
        self.verb = "fit"  # which a checkpoint names, so that `resume` does the same
        self.before: Scores = (None, None)  # of `finetune`
        self.job: dict[str, Any] | None = None  # of SLURM, which may requeue it

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train a model and keep its best weights.

        Args:
            model: What to train.
            train_dataloaders: Instead of a data module.
            val_dataloaders: Instead of a data module.
            datamodule: What to train and score on.
            ckpt_path: A .ckpt to go on from, or a .pth of weights to start with (with a new optimiser).
            weights_only: See Lightning.
        """
        validate_class_count(model, datamodule)
        named = isinstance(model, SegmentationModule) and ckpt_path not in (None, *OWN_WORDS)
        if copied := begin_with_other_classes(model, ckpt_path):
            say(self, f"starting from the weights in {ckpt_path}, with a new optimiser\n{copied}")
            ckpt_path = None
        elif named and ckpt_path is not None and not is_full_checkpoint(ckpt_path):
            say(self, f"starting from the weights in {ckpt_path}, with a new optimiser")
            ckpt_path = load_initial_weights(model, ckpt_path)
            validate_class_count(model, datamodule)
        path = self.resumed or ckpt_path
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, path, weights_only)
        self._report_training()

    def finetune(
        self, model: SegmentationModule, datamodule: VOCDataModule, ckpt_path: str | Path | None = None
    ) -> None:
        """Go on training from trained weights on a part of the data, and compare before with after.

        Args:
            model: What to train.
            datamodule: What to train and score on.
            ckpt_path: The weights to start from; null: the newest run's `unet_voc.pth`.
        """
        validate_class_count(model, datamodule)
        self.verb = "finetune"
        if copied := begin_with_other_classes(model, ckpt_path):
            datamodule.prepare_data()
            say(self, f"{copied}\nbefore and after are not compared, as the classes differ")
            super().fit(model, datamodule=datamodule, ckpt_path=self.resumed)
            self._report_training()
            return
        path = load_initial_weights(model, ckpt_path)
        if self.resumed is not None:  # scored once more, it would be in the curves twice
            self.before = scores_before(self.resumed)
        else:
            datamodule.prepare_data()  # a fault in the training images shows before anything is scored
            super().validate(model, datamodule=datamodule, ckpt_path=path, verbose=False)
            self.before = newest_score(self, model), newest_image_scores(self, model)
        before, best = self.before, self._best()
        if best is not None and self.resumed is not None and is_finished(self.resumed):
            self.strategy.connect(model)  # nothing is left to do but to compare
            best.load_state_dict(read_checkpoint(self.resumed)["callbacks"][best.state_key])
            best.weights = self.resumed.with_name(WEIGHTS_NAME)
        else:
            super().fit(model, datamodule=datamodule, ckpt_path=self.resumed)
        kept = (best.score, best.images) if best and best.score else (None, None)
        after = kept if kept[1] else (newest_score(self, model), newest_image_scores(self, model))
        if before[0] and before[1] and after[0] and after[1]:
            report_finetuning(self, (before[0], before[1]), (after[0], after[1]))

    def tune(
        self,
        model: SegmentationModule,
        datamodule: VOCDataModule,
        target: Wanted = "lr",
        num_training: PositiveInt = 100,
        max_batch_size: PositiveInt | None = None,
        ckpt_path: str | Path | None = None,
    ) -> None:
        """Look for a learning rate or a batch size, and say what to type; nothing is trained or kept.

        Args:
            model: What would be trained.
            datamodule: On what.
            target: `lr`: where the loss falls fastest, one rate for encoder and decoder; `batch_size`: the
                largest that fits into memory.
            num_training: Of the search for a learning rate.
            max_batch_size: Batch to stop at.
            ckpt_path: The weights to start from; null: as `fit`.
        """
        validate_class_count(model, datamodule)
        if copied := begin_with_other_classes(model, ckpt_path):
            say(self, copied)
        else:
            load_initial_weights(model, ckpt_path)
        if target == "lr":
            table, found = find_learning_rate(self, model, datamodule, int(num_training))
            say(self, table)
        else:
            datamodule.prepare_data()
            found = find_batch_size(
                self, model, datamodule, len(datamodule.splits()["train"]), max_batch_size
            )
        say(self, found)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = False,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Score weights on the validation images."""
        validate_class_count(model, datamodule)
        path = load_initial_weights(model, ckpt_path)
        result = super().validate(model, dataloaders, path, verbose, datamodule, weights_only)
        if isinstance(model, SegmentationModule):
            report_scores(self, "validate", model)
        return result

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = False,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Score weights on the test images: for VOC the validation list, as its test labels are secret."""
        validate_class_count(model, datamodule)
        path = load_initial_weights(model, ckpt_path)
        result = super().test(model, dataloaders, path, verbose, datamodule, weights_only)
        if isinstance(model, SegmentationModule):
            report_scores(self, "test", model)
        return result

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = False,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Write a mask and an overlay for every image of a folder and its sub-folders."""
        if isinstance(model, SegmentationModule) and isinstance(datamodule, VOCDataModule):
            model.network.check_size(datamodule.image_size)
        path = load_initial_weights(model, ckpt_path)
        result = super().predict(model, dataloaders, datamodule, return_predictions, path, weights_only)
        if isinstance(model, SegmentationModule):
            self.exit_code = report_predictions(self, model)
        return result

    def _report_training(self) -> None:
        if (best := self._best()) and best.score:
            report_training(self, best.score)

    def _best(self) -> BestWeights | None:
        return next((each for each in self.checkpoint_callbacks if isinstance(each, BestWeights)), None)
