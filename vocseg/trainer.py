"""Lightning's Trainer with `finetune` and printed results."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.profilers import PassThroughProfiler

from vocseg.callbacks import find_callback
from vocseg.callbacks.best_weights import BestWeights
from vocseg.callbacks.per_image_metrics import newest_image_scores
from vocseg.checkpoints.io import is_full_checkpoint, read_checkpoint, with_atomic_checkpoints
from vocseg.checkpoints.resume import Scores, is_finished, scores_before
from vocseg.checkpoints.weights import WEIGHTS_NAME
from vocseg.commands.predict_video import predict_video
from vocseg.commands.results import report_finetuning, report_predictions, report_scores, report_training, say
from vocseg.config.initial_weights import (
    OWN_WORDS,
    begin_with_other_classes,
    load_initial_weights,
)
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.predict_dataset import is_video
from vocseg.errors import UserError
from vocseg.models.metadata import newest_score
from vocseg.models.module import SegmentationModule

_NO_CONTEXT = nullcontext()


class NoProfiler(PassThroughProfiler):
    """A profiler without overhead. Lightning's enters a generator for each hook of each callback."""

    def profile(self, action_name: str) -> Any:
        """Return a context that does nothing."""
        return _NO_CONTEXT


def _scoring(method: Callable[..., Any], doc: str) -> Callable[..., Any]:
    """Wrap `validate` or `test` of Lightning's Trainer: load `unet_voc.pth` too, and print the scores."""

    @wraps(method)  # Lightning's signature becomes the flags
    def score(
        self: "Trainer",
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = False,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        if isinstance(model, SegmentationModule):
            model.match_data(datamodule)
        path = load_initial_weights(model, ckpt_path)
        result = method(self, model, dataloaders, path, verbose, datamodule, weights_only)
        if isinstance(model, SegmentationModule):
            report_scores(self, method.__name__, model)
        return result

    score.__doc__ = doc
    return score


class Trainer(lightning.Trainer):
    """Lightning's Trainer, which also takes `unet_voc.pth` as `ckpt_path` and prints results."""

    def __init__(self, *args: Any, use_distributed_sampler: bool = False, **kwargs: Any) -> None:
        """Create the trainer.

        Args:
            args: See Lightning.
            use_distributed_sampler: Must be False: the data module's samplers are distributed already.
            kwargs: See Lightning.
        """
        if use_distributed_sampler:
            raise UserError(
                "--trainer.use_distributed_sampler true: the samplers are distributed already. Leave it out."
            )
        kwargs["plugins"] = with_atomic_checkpoints(kwargs.get("plugins"))
        if not kwargs.get("barebones"):  # which rejects every profiler
            kwargs["profiler"] = kwargs.get("profiler") or NoProfiler()
        super().__init__(*args, use_distributed_sampler=False, **kwargs)
        self.resumed: Path | None = None  # checkpoint of the run that is resumed
        self.figures: dict[str, Any] | None = None  # results of the verb, for --json
        self.exit_code = 0  # 1: some images failed
        self.verb = "fit"  # saved in checkpoints, for `resume`
        self.before: Scores = (None, None)  # scores before fine-tuning
        self.job: dict[str, Any] | None = None  # SLURM job, which may be requeued

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train a model and save its best weights.

        Args:
            model: Model to train.
            train_dataloaders: Training data, instead of a data module.
            val_dataloaders: Validation data, instead of a data module.
            datamodule: Data to train and validate on.
            ckpt_path: A .ckpt to resume, or a .pth of weights to start from with a new optimizer.
            weights_only: See Lightning.
        """
        if isinstance(model, SegmentationModule):
            model.match_data(datamodule)
        start = f"starting from the weights in {ckpt_path}, with a new optimizer"
        if copied := begin_with_other_classes(model, ckpt_path):
            say(self, f"{start}\n{copied}")
            ckpt_path = None
        elif (
            isinstance(model, SegmentationModule)
            and ckpt_path is not None
            and ckpt_path not in OWN_WORDS
            and not is_full_checkpoint(ckpt_path)
        ):
            say(self, start)
            ckpt_path = load_initial_weights(model, ckpt_path)
        path = self.resumed or ckpt_path
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, path, weights_only)
        self._report_training()

    def finetune(
        self, model: SegmentationModule, datamodule: VOCDataModule, ckpt_path: str | Path | None = None
    ) -> None:
        """Fine-tune trained weights on a part of the data, and compare scores before and after.

        Args:
            model: Model to train.
            datamodule: Data to train and validate on.
            ckpt_path: Weights to start from. Null: `unet_voc.pth` of the newest run.
        """
        model.match_data(datamodule)
        self.verb = "finetune"
        if copied := begin_with_other_classes(model, ckpt_path):
            datamodule.prepare_data()
            say(self, f"{copied}\nscores before and after are not compared, as the classes differ")
            super().fit(model, datamodule=datamodule, ckpt_path=self.resumed)
            self._report_training()
            return
        path = load_initial_weights(model, ckpt_path)
        if self.resumed is not None:  # scoring again would log it twice
            self.before = scores_before(self.resumed)
        else:
            datamodule.prepare_data()  # reports errors in training images before anything is scored
            super().validate(model, datamodule=datamodule, ckpt_path=path, verbose=False)
            self.before = newest_score(self, model), newest_image_scores(self, model)
            model.results.pop("val", None)  # or it would be the score after, if no validation follows
        before, best = self.before, find_callback(self, BestWeights)
        if best is not None and self.resumed is not None and is_finished(self.resumed):
            self.strategy.connect(model)  # only the comparison is left to do
            best.load_state_dict(read_checkpoint(self.resumed)["callbacks"][best.state_key])
            best.weights = self.resumed.with_name(WEIGHTS_NAME)
        else:
            super().fit(model, datamodule=datamodule, ckpt_path=self.resumed)
        after = (best.score, best.images) if best else (None, None)
        if not after[0] or not after[1]:
            after = newest_score(self, model), newest_image_scores(self, model)
        if before[0] and before[1] and after[0] and after[1]:
            report_finetuning(self, (before[0], before[1]), (after[0], after[1]))
        else:
            say(self, "scores before and after are not compared: training made no validation")

    validate = _scoring(lightning.Trainer.validate, "Score weights on the validation images.")
    test = _scoring(
        lightning.Trainer.test,
        "Score weights on the test images: for VOC the validation split, as its test labels are secret.",
    )

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = False,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Write a mask and an overlay for every image of a folder and its sub-folders, or of a video."""
        if isinstance(model, SegmentationModule) and isinstance(datamodule, VOCDataModule):
            model.network.check_size(datamodule.image_size)
        path = load_initial_weights(model, ckpt_path)
        if isinstance(model, SegmentationModule) and isinstance(datamodule, VOCDataModule):
            source = datamodule.predict_dir
            if source is not None and is_video(source) and source.is_file():
                if self.is_global_zero:
                    self.figures = predict_video(self, model, source, datamodule.image_size)
                return None
        result = super().predict(model, dataloaders, datamodule, return_predictions, path, weights_only)
        if isinstance(model, SegmentationModule):
            self.exit_code = report_predictions(self, model)
        return result

    def _report_training(self) -> None:
        if (best := find_callback(self, BestWeights)) and best.score:
            report_training(self, best.score)
