"""The LightningDataModule: finds VOC (or gets it), checks it, and serves its splits."""

from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from vocseg import voc
from vocseg.data.audit import check_pairs
from vocseg.data.batch import Batch, Sample, make_loader
from vocseg.data.dataset import VOCSegmentation
from vocseg.data.download import download_voc
from vocseg.data.order import Draw, EvaluationOrder, TrainingOrder
from vocseg.data.photographs import Photographs
from vocseg.data.splits import SplitFacts, fingerprint, split_part
from vocseg.data.transforms import Augmentation
from vocseg.errors import UserError


class VOCDataModule(LightningDataModule):
    """Pascal VOC 2012, resized to a square, in batches of bytes.

    Args:
        root: Folder that holds `VOCdevkit/VOC2012`; VOC is fetched into it when it is missing.
        size: Edge in pixels to which images and masks are resized.
        batch_size: Images in a batch, per device.
        train_split: List to train on: train, trainval, trainaug or any other in ImageSets/Segmentation.
        val_split: List to score on.
        train_images: Use a random part of the training list, this many images; null: all.
        val_images: The same for the list to score on.
        subset_seed: Chooses those parts; not the run's seed, so that runs are scored on the same images.
        augmentation: `none`, or `light` (horizontal flips).
        images: Folder of pictures, or one picture, for `predict`.
        workers: Loader processes; null: none on a CPU, else one a core up to 8.
        download: Fetch VOC when it is missing.
        check: Read every file once before training or scoring starts.
        seed: Seeds order and augmentation; on the command line it follows --seed_everything.
    """

    def __init__(
        self,
        root: Path = Path("data"),
        size: PositiveInt = 256,
        batch_size: PositiveInt = 4,
        train_split: str = "train",
        val_split: str = "val",
        train_images: PositiveInt | None = None,
        val_images: PositiveInt | None = None,
        subset_seed: NonNegativeInt = 0,
        augmentation: Augmentation = "none",
        images: Path | None = None,
        workers: NonNegativeInt | None = None,
        download: bool = True,
        check: bool = True,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.root, self.size, self.batch_size = Path(root), int(size), int(batch_size)
        self.train_split, self.val_split = train_split, val_split
        self.train_images, self.val_images, self.subset_seed = train_images, val_images, subset_seed
        self.augmentation, self.images, self.workers = augmentation, images, workers
        self.download, self.check, self.seed = download, check, seed
        self.classes = voc.CLASSES
        self._sets: dict[str, VOCSegmentation] = {}
        self._checked: set[str] = set()
        self._fault: str | None = None

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
        else:
            self._sets = self._splits()

    def facts(self, stage: str) -> SplitFacts:
        """What the images of a stage are: list, number, fingerprint over their ids, and size."""
        part = self._sets["train" if stage == "train" else "val"]
        return {
            "split": part.split,
            "images": len(part),
            "fingerprint": fingerprint(part.ids),
            "size": self.size,
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled by seed and epoch, whole batches only."""
        part, rank, world = self._sets["train"], self._rank(), self._world()
        order = TrainingOrder(len(part), self.batch_size, self.seed, self._epoch, rank, world)
        return self._loader(part, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every image once, in the list's order."""
        part = self._sets["val"]
        return self._loader(part, EvaluationOrder(len(part), self._rank(), self._world()))

    def test_dataloader(self) -> DataLoader[Batch]:
        """The validation list: VOC's test labels are not public."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The user's own pictures."""
        return self._loader(
            self.photographs, EvaluationOrder(len(self.photographs), self._rank(), self._world())
        )

    def _prepare(self) -> None:
        if self._verb() == "predict":
            self._pictures()
            return
        if voc.find(self.root) is None and self.download:
            download_voc(self.root)
        sets = self._splits()
        if self.check:
            new = [part for name, part in sets.items() if name not in self._checked]
            check_pairs(part.paths(k) for part in new for k in range(len(part)))
            self._checked.update(sets)

    def _pictures(self) -> Photographs:
        """The user's own pictures."""
        if self.images is None:
            raise UserError("predict needs --data.images: a folder of pictures, or one picture")
        return Photographs(Path(self.images), self.size)

    def _splits(self) -> dict[str, VOCSegmentation]:
        """The images of the verb: "train" and "val", or "val" alone."""
        names = ["val"] if self._verb() in ("validate", "test") else ["train", "val"]
        sets = {name: self._split(name) for name in names}
        batch, have = self.batch_size * self._world(), len(sets.get("train", ()))
        if "train" in sets and have < batch:
            raise UserError(
                f"'{self.train_split}' has {have} images, too few for one batch of {batch} "
                f"(--data.batch_size {self.batch_size} on {self._world()} devices): use a smaller batch"
            )
        return sets

    def _split(self, name: str) -> VOCSegmentation:
        """The images of "train" or "val", or the part of them that is asked for."""
        folder = voc.find(self.root)
        if folder is None:
            raise UserError(f"there is no VOC 2012 below {self.root}: name its folder with --data.root")
        if name == "train":
            ids = split_part(folder, self.train_split, self.train_images, self.subset_seed, "train_images")
            return VOCSegmentation(folder, self.train_split, ids, self.size, self.augmentation, self.seed)
        ids = split_part(folder, self.val_split, self.val_images, self.subset_seed, "val_images")
        return VOCSegmentation(folder, self.val_split, ids, self.size)

    def _verb(self) -> str:
        """What the trainer is at: fit, validate, test or predict."""
        return str(self.trainer.state.fn.value) if self.trainer and self.trainer.state.fn else "fit"

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _loader(self, part: Dataset[Sample], order: Sampler[Draw]) -> DataLoader[Batch]:
        return make_loader(part, order, self.batch_size, self.workers)
