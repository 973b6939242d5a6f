"""LightningDataModule of VOC and data sets in its layout."""

from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from vocseg.data.cache import keep_freed_memory
from vocseg.data.classes import known_classes
from vocseg.data.dataloader import Batch, RankInfo, TimedDataLoader, collate, rank_info
from vocseg.data.dataset import SplitDatasets, VOCSegmentation
from vocseg.data.image_io import Bytes
from vocseg.data.predict_dataset import ImageFolderDataset
from vocseg.data.samplers import EpochPosition, EvalSampler, Order, Progress, ResumableSampler
from vocseg.data.splits import Selection, Split, SplitFacts
from vocseg.data.transforms.augment import Augmentation, Sampling
from vocseg.data.transforms.crops import SCALES, scales
from vocseg.data.voc import Layout
from vocseg.data.worker_watchdog import useful_workers
from vocseg.errors import UserError
from vocseg.utils.safe_load import SafeCheckpointMixin

_LARGEST = 8192  # pixels each way: an image of that size takes 200 MB
_EVAL_BATCH_ON_GPU = 32  # at least: smaller batches leave a GPU idle


class VOCDataModule(SafeCheckpointMixin, LightningDataModule):  # type: ignore[misc]  # Lightning's is not a classmethod
    """Pascal VOC 2012, or a data set in its layout, resized to a square.

    Args:
        root: Folder that contains `VOCdevkit/VOC2012`. VOC is downloaded into it if missing.
        image_size: Side length in pixels of the resized images and masks.
        batch_size: Images per batch and device.
        eval_batch_size: Images per batch and device in evaluation. null: `batch_size`, on a GPU at least 32.
        train_split: Training split: train, trainval, trainaug or another list of ImageSets/Segmentation.
        val_split: Validation split.
        max_train_samples: Size of a random subset of the training split. null: all images.
        max_val_samples: Size of a random subset of the validation split. null: all images.
        subset_seed: Seed of these subsets. Independent of the run's seed, so that scores stay comparable.
        augmentation: Augmentation. none; light: horizontal flips; crops: flips and random crops at scales of
            `crop_scale`; standard: also brightness, contrast, colour, blur; strong: more blur, also CutMix,
            noise and CutOut.
        crop_scale: Smallest and largest scale of random crops. At 1 a crop shows the whole image. Below 1 it
            is padded with ignored pixels.
        sampling: Sampling of training images. uniform: each once an epoch; balanced: with replacement, images
            of rare classes more often (repeat factors of LVIS).
        classes: Text or YAML file with the classes of the masks, or with a merge of VOC's classes. null: VOC.
        mask_values: Mask value of each class, in the order of `classes`, for example `[0, 255]`. null: 0, 1,
            2, ..., or as in `classes`.
        image_folder: Folder of the images within the data set. `.` is the data set's own folder.
        image_suffix: File ending of the images. null: found for each image.
        mask_folder: Folder of the masks. null: SegmentationClass, for `trainaug` SegmentationClassAug.
        mask_suffix: Part of a mask's file name after the image's id, for example `_mask.png`.
        val_fraction: Fraction of the images for validation, drawn by id and `subset_seed` from `train_split`,
            or without lists from all images with a mask. null: `val_split` is used.
        predict_dir: Images for `predict`: a folder, searched with its sub-folders, one image, a video, a
            pattern such as 'photos/*.jpg', or a text file with a path on each line.
        num_workers: Number of DataLoader workers. null: 0 on a CPU or where reading is cheap, else one per
            core, at most 8.
        timeout: Seconds to wait for a batch from a DataLoader worker.
        cache: Memory-mapped cache of decoded images. null: used if there is room on the disk.
        cache_dir: Folder of the cache. null: `.vocseg` in the data set, or the user's cache folder if the
            data set is read-only.
        download: Download of VOC if it is missing.
        verify_files: Verification of every file before training or scoring, where there is no cache.
        seed: Seed of order and augmentation. On the command line it is --seed_everything.
    """

    def __init__(
        self,
        root: Path = Path("data"),
        image_size: PositiveInt = 256,
        batch_size: PositiveInt = 4,
        eval_batch_size: PositiveInt | None = None,
        train_split: str = "train",
        val_split: str = "val",
        max_train_samples: PositiveInt | None = None,
        max_val_samples: PositiveInt | None = None,
        subset_seed: NonNegativeInt = 0,
        augmentation: Augmentation = "none",
        crop_scale: tuple[PositiveFloat, PositiveFloat] = SCALES,
        sampling: Sampling = "uniform",
        classes: Path | None = None,
        image_folder: str = "JPEGImages",
        image_suffix: str | None = None,
        mask_folder: str | None = None,
        mask_suffix: str = ".png",
        mask_values: list[NonNegativeInt] | None = None,
        val_fraction: OpenUnitInterval | None = None,
        predict_dir: Path | None = None,
        num_workers: NonNegativeInt | None = None,
        timeout: PositiveInt = 60,
        cache: bool | None = None,
        cache_dir: Path | None = None,
        download: bool = True,
        verify_files: bool = True,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.root, self.image_size, self.batch_size = Path(root), int(image_size), int(batch_size)
        self.eval_batch_size, self.num_workers, self.timeout = eval_batch_size, num_workers, int(timeout)
        self.seed, self.predict_dir, self.download = seed, predict_dir, download
        if self.image_size > _LARGEST:
            raise UserError(
                f"--data.image_size {self.image_size:,} is too large: use {_LARGEST:,} pixels at most"
            )
        self.classes = known_classes(classes and Path(classes), mask_values)
        self.selection = Selection(
            root=self.root,
            naming=Layout(Path(), image_folder, image_suffix, mask_folder, mask_suffix),
            classes=self.classes,
            lists={"train": train_split, "val": val_split},
            parts={"train": max_train_samples, "val": max_val_samples},
            subset_seed=subset_seed,
            val_fraction=val_fraction and float(val_fraction),
        )
        self.parts = SplitDatasets(
            self.image_size, augmentation, seed, scales(crop_scale), sampling, cache, cache_dir, verify_files
        )
        self.progress = Progress(self._counted)
        self.predict_dataset: ImageFolderDataset | None = None  # the images to predict, once they are listed
        self._error: str | None = None
        self._class_pixels: list[int] | None = None

    @property
    def position(self) -> EpochPosition:
        """Training progress: epochs done, and batches done of the current one."""
        # The trainer's own count, which its checkpoints hold: a second one could differ from it.
        if self._verb() != "fit" or self.trainer is None:
            return self.progress.next
        loop = self.trainer.fit_loop
        epochs: Any = loop.epoch_progress.current  # Lightning's types leave half of the counts out
        batches: Any = loop.epoch_loop.batch_progress.current
        return EpochPosition(epochs.processed, batches.processed if epochs.started > epochs.processed else 0)

    @property
    def train_dataset(self) -> VOCSegmentation:
        """The training images, for any DataLoader."""
        return self._part("train")

    @property
    def val_dataset(self) -> VOCSegmentation:
        """The validation images."""
        return self._part("val")

    def prepare_data(self) -> None:
        """Download what is missing and check the files, on one process of each machine.

        Raises:
            UserError: If VOC cannot be downloaded, a file is wrong, a split is missing or too short, or there
                is nothing to predict.
        """
        try:
            if self._verb() == "predict":
                self._find_images()
                return
            if self.download:
                self.selection.fetch()
            self.parts.prepare(self.splits())
        except UserError as error:
            if self._world() == 1:
                raise
            self._error = error.sentence  # the other processes wait: `setup` lets all fail together

    def setup(self, stage: str) -> None:
        """Open the images of a stage; errors as of `prepare_data`, on every process."""
        if self.trainer is not None and self._world() > 1:
            self._error = self.trainer.strategy.broadcast(self._error)
        if self._error is not None:
            raise UserError(self._error)
        if stage == "predict":
            self.predict_dataset = self._find_images()
            return
        keep_freed_memory()
        self.parts.open(self.splits())

    def facts(self, stage: str) -> SplitFacts:
        """Return name, number of images, fingerprint and size of the images of a stage."""
        name = "train" if stage == "train" else "val"
        self._part(name)
        return self.parts.facts(name)

    def ids(self, stage: str) -> tuple[str, ...]:
        """Return the image ids of a stage, in order."""
        return self._part("train" if stage == "train" else "val").split.ids

    def full_mask(self, index: int) -> Bytes:
        """Return a validation mask at its original resolution: class indices uint8 `[H,W]`, 255 ignored."""
        return self._part("val").full_mask(index)

    def full_image(self, index: int) -> Bytes:
        """Return a validation image at its original resolution: RGB uint8 `[H,W,3]`."""
        return self._part("val").full_image(index)

    def class_pixels(self) -> list[int]:
        """Return the number of pixels of each class in the training masks; counted once."""
        if self._class_pixels is None:
            self._class_pixels = self.parts.class_pixels(self.selection.splits(["train"])["train"])
        return self._class_pixels

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return full batches, shuffled by seed and epoch, or with `overfit_batches` in the split's order.

        Each iteration is the trainer's epoch; without a trainer, the next one.
        """
        dataset, rank = self.train_dataset, rank_info(self.trainer)
        sampler = ResumableSampler(
            len(dataset),
            self.batch_size,
            self.seed,
            self.progress,
            rank.rank,
            rank.world,
            shuffled=not getattr(self.trainer, "overfit_batches", 0),
        )
        sampler.weights = dataset.weights
        return self._dataloader(dataset, sampler, self.batch_size, rank)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return every validation image once, in the split's order."""
        return self._eval_dataloader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the validation images: VOC's test labels are not public."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Return the images of `predict_dir`."""
        self.predict_dataset = self.predict_dataset or self._find_images()
        return self._eval_dataloader(self.predict_dataset)

    def _find_images(self) -> ImageFolderDataset:
        if self.predict_dir is None:
            raise UserError("predict needs --data.predict_dir: a folder of images, one image or a video")
        return ImageFolderDataset(Path(self.predict_dir), self.image_size)

    def splits(self) -> dict[str, Split]:
        """Return the splits of the verb: "train" and "val", or "val" alone."""
        return self._splits(["val"] if self._verb() in ("validate", "test") else ["train", "val"])

    def _splits(self, names: list[str]) -> dict[str, Split]:
        splits = self.selection.splits(names)
        batch, images = self.batch_size * self._world(), len(splits.get("train", ()))
        if "train" in splits and images < batch:
            raise UserError(
                f"'{splits['train'].name}' has {images} images, too few for one batch of {batch} "
                f"(--data.batch_size {self.batch_size} on {self._world()} devices): use a smaller batch"
            )
        return splits

    def _verb(self) -> str:
        return str(self.trainer.state.fn.value) if self.trainer and self.trainer.state.fn else "fit"

    def _counted(self) -> EpochPosition | None:
        """Position of a trainer that trains on these images; None: there is none."""
        trains = self.trainer is not None and self._verb() == "fit" and self.trainer.state.status == "running"
        return self.position if trains else None

    def _part(self, name: str) -> VOCSegmentation:
        """The images of "train" or "val", prepared here where no trainer has done so, as in a notebook."""
        if name not in self.parts:
            if self.download:
                self.selection.fetch()
            splits = self._splits(["train", "val"] if name == "train" else ["val"])  # none may be in both
            self.parts.prepare(splits)
            self.parts.open(splits)
        return self.parts[name]

    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _eval_dataloader(self, dataset: VOCSegmentation | ImageFolderDataset) -> DataLoader[Batch]:
        rank = rank_info(self.trainer)
        batch_size = self.eval_batch_size
        if batch_size is None:
            batch_size = max(self.batch_size, _EVAL_BATCH_ON_GPU) if rank.on_gpu else self.batch_size
        return self._dataloader(dataset, EvalSampler(len(dataset), rank.rank, rank.world), batch_size, rank)

    def _dataloader(
        self, dataset: VOCSegmentation | ImageFolderDataset, sampler: Order, batch_size: int, rank: RankInfo
    ) -> DataLoader[Batch]:
        workers = self.num_workers
        if workers is None:
            workers = 0  # images to predict have threads
            if isinstance(dataset, VOCSegmentation):
                batch_bytes = batch_size * dataset.item_bytes
                workers = useful_workers(dataset.ready, rank.on_gpu, rank.neighbours, batch_bytes)
        loader = TimedDataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=rank.on_gpu,
        )
        loader.patience = self.timeout
        return loader
