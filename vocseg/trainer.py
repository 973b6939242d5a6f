"""Lightning's Trainer with one verb more, and tables at the end of those that score."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch import LightningDataModule, LightningModule
from rich.console import Console, RenderableType

from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.runs import BestWeights, FullSize, described_classes, load_weights, newest_score
from vocseg.scores import Score, score_intervals
from vocseg.views import comparison_table, interval_table, score_table, sizes_line


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
        super().__init__(*args, use_distributed_sampler=False, **kwargs)

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
        if ckpt_path is not None and Path(ckpt_path).suffix == ".pth":
            self._say(f"starting from the weights in {ckpt_path}, with a new optimiser")
            ckpt_path = self._load(model, ckpt_path)
        _check_agreement(model, datamodule)
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        if (best := self._best()) and best.score:
            self._say(score_table(best.score, "best epoch"))
            self._say(f"weights: {best.weights}")

    def finetune(
        self, model: SegmentationModule, datamodule: VOCDataModule, ckpt_path: str | Path | None = None
    ) -> None:
        """Go on training from trained weights on a part of the data, and compare before with after.

        Args:
            model: What to train.
            datamodule: What to train and score on.
            ckpt_path: The weights to start from; null: the newest run's `unet_voc.pth`.
        """
        _check_agreement(model, datamodule)
        datamodule.prepare_data()  # a fault in the training images shows before anything is scored
        super().validate(model, datamodule=datamodule, ckpt_path=self._load(model, ckpt_path), verbose=False)
        before = newest_score(self, model)
        super().fit(model, datamodule=datamodule)
        best = self._best()
        after = best.score if best and best.score else newest_score(self, model)
        if before and after:
            self._say(comparison_table(before, after, "fine-tuning"))
            self._write_scores(before=before, after=after)
        if best and best.weights:
            self._say(f"after: the best epoch, saved as {best.weights}")

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
        _check_agreement(model, datamodule)
        path = self._load(model, ckpt_path)
        result = super().validate(model, dataloaders, path, verbose, datamodule, weights_only)
        self._report("validate", model)
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
        _check_agreement(model, datamodule)
        path = self._load(model, ckpt_path)
        result = super().test(model, dataloaders, path, verbose, datamodule, weights_only)
        self._report("test", model)
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
        """Write a mask and an overlay for every picture of a folder."""
        if isinstance(model, SegmentationModule) and isinstance(datamodule, VOCDataModule):
            model.network.check_size(datamodule.size)
        path = self._load(model, ckpt_path)
        return super().predict(model, dataloaders, datamodule, return_predictions, path, weights_only)

    def _load(self, model: LightningModule | None, ckpt_path: str | Path | None) -> str | Path | None:
        """Fill the model from a file; what Lightning must resolve itself ("best", "last") is handed on."""
        if not isinstance(model, SegmentationModule) or ckpt_path in (None, "best", "last", "hpc"):
            return ckpt_path
        assert ckpt_path is not None
        model.class_list = described_classes(load_weights(model, Path(ckpt_path)))
        return None

    def _best(self) -> BestWeights | None:
        return next((each for each in self.checkpoint_callbacks if isinstance(each, BestWeights)), None)

    def _report(self, verb: str, model: LightningModule | None) -> None:
        """Tables and `scores.json` at the end of a verb that scores."""
        if not isinstance(model, SegmentationModule) or (score := newest_score(self, model)) is None:
            return
        callback = next((each for each in self.callbacks if isinstance(each, FullSize)), None)  # type: ignore[attr-defined]
        full = callback and callback.scores(self, model)
        if not full:
            self._say(score_table(score, verb))
            self._write_scores(**{verb: score})
            return
        intervals = score_intervals(full.original)
        self._say(interval_table(full.original, verb, intervals))
        self._say(sizes_line(score, full.ceiling_score))
        self._write_scores(**{verb: score}, original=full.original_score, ceiling=full.ceiling_score)
        if folder := self._kept():
            full.save(folder)

    def _write_scores(self, **scores: Score) -> None:
        """Leave `scores.json`, with the matrices from which any score can be computed again."""
        if folder := self._kept():
            plain = {name: score.as_dict() for name, score in scores.items()}
            (folder / "scores.json").write_text(json.dumps(plain, indent=1) + "\n")

    def _kept(self) -> Path | None:
        """The run's folder, on the process that writes, if the run keeps anything."""
        folder = self.log_dir  # on every process: it is broadcast
        writes = self.is_global_zero and not self.fast_dev_run  # type: ignore[attr-defined]
        return Path(folder) if folder and writes else None

    def _say(self, what: RenderableType) -> None:
        if self.is_global_zero:
            Console().print(what)


def _check_agreement(model: LightningModule | None, data: LightningDataModule | None) -> None:
    """Whether the network can take these images and tells as many classes apart as their masks hold.

    Raises:
        UserError: If not.
    """
    if isinstance(model, SegmentationModule) and isinstance(data, VOCDataModule):
        model.network.check_size(data.size)
        if model.classes != len(data.classes):
            raise UserError(f"--model.classes {model.classes}: the masks hold {len(data.classes)} classes")
        model.class_list = data.classes
