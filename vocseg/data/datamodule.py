"""LightningDataModule of VOC and data sets in its layout."""

from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from vocseg.data.batch import Batch
from vocseg.data.cache import keep_freed_memory
from vocseg.data.cache_build import CachePolicy
from vocseg.data.class_files import known_classes
from vocseg.data.dataloader import DataLoaderFactory, rank_info
from vocseg.data.dataset import SplitDatasets, VOCSegmentation
from vocseg.data.image_io import Bytes
from vocseg.data.predict_dataset import ImageFolderDataset
from vocseg.data.samplers import EpochPosition, Progress
from vocseg.data.selection import Selection
from vocseg.data.splits import Split, SplitFacts
from vocseg.data.transforms.crops import SCALES, scales
from vocseg.data.transforms.sample_rng import Augmentation, Sampling
from vocseg.data.voc import Layout
from vocseg.errors import UserError
from vocseg.utils.safe_load import SafeCheckpointMixin


class VOCDataModule(SafeCheckpointMixin, LightningDataModule):  # type: ignore[misc]  # Lightning's is no classmethod
    """Pascal VOC 2012, resized to a square, in batches of bytes.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; VOC is fetched into it when it is missing.
        size: Edge in pixels to which images and masks are resized.
        batch_size: Images in a batch, per device.
        eval_batch_size: The same where images are scored; null: as `batch_size`, on a GPU 32 at least.
        train_split: List to train on: train, trainval, trainaug or any other in ImageSets/Segmentation.
        val_split: List to score on.
        train_images: Use a random part of the training list, this many images; null: all.
        val_images: The same for the list to score on.
        subset_seed: Chooses those parts; not the run's seed, so that runs are scored on the same images.
        augmentation: `none`; `light` (horizontal flips); `crops` (besides, random crops of the square at
            scales of `crop_scale`); `standard` (besides, brightness, contrast, colour, blur); `strong` (with
            more blur, and besides, pieces of other images, noise, holes of void).
        crop_scale: Least and largest scale of these crops. At 1 a crop shows the whole square; below 1 it is
            padded with ignored pixels.
        sampling: Choice of the training images of an epoch. `uniform`: each once; `balanced`: with
            replacement, images of rare classes more often (repeat factors of LVIS).
        classes: Text or YAML file that names the classes of your own masks, or merges VOC's; null: VOC's 21.
        mask_values: Value of each class in the masks, in the order of `classes`, for example `[0, 255]`;
            null: 0, 1, 2, ..., or what `classes` says.
        image_folder: Folder of the images beside SegmentationClass and ImageSets; `.` is the data set's own.
        image_suffix: Ending of the images' names; null: that of each image is found.
        mask_folder: Folder of the masks; null: SegmentationClass (for `trainaug`, SegmentationClassAug).
        mask_suffix: What follows an image's id in the name of its mask, for example `_mask.png`.
        val_fraction: Share of the images to score on, drawn by ids and `subset_seed` from `train_split`, or
            without lists from all images with a mask; null: `val_split` names them.
        images: Folder of images, searched with its sub-folders, or one image, for `predict`.
        workers: Loader processes; null: none on a CPU, or where images are little more than copied out of a
            store (`none`, `light`, scoring), else one a core up to 8.
        worker_timeout: Seconds to wait for a batch from them before the run stops.
        on_error: What an image that cannot be read does to a run: `stop`, or `skip`: the run goes on without
            it, and says so. `predict` always skips it, and its exit code is 1.
        store: Decode every file once, into a memory-mapped store; null: where there is room.
        cache: Folder for stores and what is known of files; null: `.vocseg` in the data set, or where that
            cannot be written, your own cache.
        download: Fetch VOC when it is missing.
        check: Without a store, read every file once before training or scoring starts.
        seed: Seeds order and augmentation; on the command line it follows --seed_everything.
    """

    def __init__(
        self,
        root: Path = Path("data"),
        size: PositiveInt = 256,
        batch_size: PositiveInt = 4,
        eval_batch_size: PositiveInt | None = None,
        train_split: str = "train",
        val_split: str = "val",
        train_images: PositiveInt | None = None,
        val_images: PositiveInt | None = None,
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
        images: Path | None = None,
        workers: NonNegativeInt | None = None,
        worker_timeout: PositiveInt = 60,
        on_error: Literal["stop", "skip"] = "stop",
        store: bool | None = None,
        cache: Path | None = None,
        download: bool = True,
        check: bool = True,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.root, self.size, self.batch_size = Path(root), int(size), int(batch_size)
        self.eval_batch_size = eval_batch_size
        self.seed, self.images, self.workers, self.download = seed, images, workers, download
        self.worker_timeout, self.skip = int(worker_timeout), on_error == "skip"
        self.classes = known_classes(classes and Path(classes), mask_values)
        lists = {"train": train_split, "val": val_split}
        counts = {"train": train_images, "val": val_images}
        naming = Layout(Path(), image_folder, image_suffix, mask_folder, mask_suffix)
        self.selection = Selection(
            self.root, naming, self.classes, lists, counts, subset_seed, val_fraction and float(val_fraction)
        )
        self.parts = SplitDatasets(
            CachePolicy(store, cache, check, self.skip),
            self.size,
            augmentation,
            seed,
            scales(crop_scale),
            sampling,
        )
        self.progress = Progress(self._counted)
        self.photographs: ImageFolderDataset | None = None  # those to predict, once they are listed
        self._fault: str | None = None
        self._class_pixels: list[int] | None = None

    @property
    def position(self) -> EpochPosition:
        """How far training is: epochs done, and batches of the one begun.

        The trainer's own count, which its checkpoints hold: a second one kept here could differ from it.
        """
        if self._verb() != "fit" or self.trainer is None:
            return self.progress.next
        loop = self.trainer.fit_loop
        epochs: Any = loop.epoch_progress.current  # Lightning's types leave half of the counts out
        batches: Any = loop.epoch_loop.batch_progress.current
        return EpochPosition(epochs.processed, batches.processed if epochs.started > epochs.processed else 0)

    @property
    def train_dataset(self) -> VOCSegmentation:
        """The images to train on, for a DataLoader of one's own."""
        return self._part("train")

    @property
    def val_dataset(self) -> VOCSegmentation:
        """The images to score on."""
        return self._part("val")

    def prepare_data(self) -> None:
        """On one process a machine: fetch what is missing, check what is there, before any other work.

        Raises:
            UserError: If VOC is neither there nor to be had, a file of it is wrong, a list is missing or too
                short for what is asked of it, or there is nothing to predict.
        """
        try:
            self._prepare()
        except UserError as fault:
            if self._world() == 1:
                raise
            self._fault = fault.sentence  # the other processes wait: `setup` lets all fail together

    def setup(self, stage: str) -> None:
        """Point at the images that the stage needs.

        Raises:
            UserError: As `prepare_data`, on every process.
        """
        if self.trainer is not None and self._world() > 1:
            self._fault = self.trainer.strategy.broadcast(self._fault)
        if self._fault is not None:
            raise UserError(self._fault)
        if stage == "predict":
            self.photographs = self._pictures()
            return
        keep_freed_memory()
        self.parts.open(self.splits())

    def facts(self, stage: str) -> SplitFacts:
        """What the images of a stage are: list, number, fingerprint over ids and content, and size."""
        name = "train" if stage == "train" else "val"
        self._part(name)
        return self.parts.facts(name)

    def ids(self, stage: str) -> tuple[str, ...]:
        """The images of a stage, in their order."""
        return self._part("train" if stage == "train" else "val").split.ids

    def full_mask(self, index: int) -> Bytes:
        """The mask of a validation image at its own size: class indices uint8 `[H,W]`, 255 void."""
        return self._part("val").full_mask(index)

    def full_image(self, index: int) -> Bytes:
        """A validation image at its own size: RGB uint8 `[H,W,3]`."""
        return self._part("val").full_image(index)

    def class_pixels(self) -> list[int]:
        """How many pixels of each class the masks to train on hold, whatever the verb; counted once.

        Raises:
            UserError: If there is no such list, or a file is wrong.
        """
        if self._class_pixels is None:
            self._class_pixels = self.parts.class_pixels(self.selection.splits(["train"])["train"])
        return self._class_pixels

    def left_out(self) -> dict[str, dict[str, str]]:
        """Images that this process went on without, with reasons, by list."""
        return self.parts.left_out()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Whole batches only, shuffled by seed and epoch, or with `overfit_batches` the list's first.

        Each iteration is the trainer's epoch; without a trainer, the next one.
        """
        shuffled = not getattr(self.trainer, "overfit_batches", 0)
        return self._loaders().training(self.train_dataset, self.seed, self.progress, shuffled)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every image once, in the list's order."""
        return self._loaders().scoring(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The validation list: VOC's test labels are not public."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The user's own images."""
        self.photographs = self.photographs or self._pictures()
        return self._loaders().scoring(self.photographs)

    def _prepare(self) -> None:
        if self._verb() == "predict":
            self._pictures()
            return
        if self.download:
            self.selection.fetch()
        self.parts.prepare(self.splits())

    def _pictures(self) -> ImageFolderDataset:
        """The user's own images."""
        if self.images is None:
            raise UserError("predict needs --data.images: a folder of images, or one image")
        return ImageFolderDataset(Path(self.images), self.size)

    def splits(self) -> dict[str, Split]:
        """The images of the verb: "train" and "val", or "val" alone."""
        return self._splits(["val"] if self._verb() in ("validate", "test") else ["train", "val"])

    def _splits(self, names: list[str]) -> dict[str, Split]:
        splits = self.selection.splits(names)
        batch, have = self.batch_size * self._world(), len(splits.get("train", ()))
        if "train" in splits and have < batch:
            raise UserError(
                f"'{splits['train'].name}' has {have} images, too few for one batch of {batch} "
                f"(--data.batch_size {self.batch_size} on {self._world()} devices): use a smaller batch"
            )
        return splits

    def _verb(self) -> str:
        """What the trainer is at: fit, validate, test or predict."""
        return str(self.trainer.state.fn.value) if self.trainer and self.trainer.state.fn else "fit"

    def _counted(self) -> EpochPosition | None:
        """Where a trainer that trains on these images is; None: none does."""
        trains = self.trainer is not None and self._verb() == "fit" and self.trainer.state.status == "running"
        return self.position if trains else None

    def _part(self, name: str) -> VOCSegmentation:
        """The images of "train" or "val", made ready here where no trainer has done so, as in a notebook."""
        if name not in self.parts:
            if self.download:
                self.selection.fetch()
            splits = self._splits(["train", "val"] if name == "train" else ["val"])  # none may be in both
            self.parts.prepare(splits)
            self.parts.open(splits)
        return self.parts[name]

    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _loaders(self) -> DataLoaderFactory:
        """For what the trainer is now, and the batch size: a search for the largest changes it."""
        place = rank_info(self.trainer)
        at_once = None if self.eval_batch_size is None else int(self.eval_batch_size)
        workers = None if self.workers is None else int(self.workers)
        return DataLoaderFactory(place, self.batch_size, at_once, workers, self.worker_timeout)
