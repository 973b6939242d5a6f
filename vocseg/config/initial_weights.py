"""Resolution of `--ckpt_path` and its check against the flags."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_only

from vocseg.checkpoints.compatibility import check_classes, check_shape, described_classes, network_shape
from vocseg.checkpoints.run_dir import newest_checkpoint, newest_weights
from vocseg.checkpoints.transfer import read_pretrained, transfer
from vocseg.checkpoints.weights import load_weights, read_weights
from vocseg.data.class_files import known_classes
from vocseg.data.classes import ClassList
from vocseg.data.datamodule import VOCDataModule
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule
from vocseg.utils.file_type import local_file

_TRAINING = ("fit", "finetune", "tune")  # verbs that take weights of other classes

NEWEST = ("best", "last")  # checkpoints of the newest run
OWN_WORDS = (*NEWEST, "hpc")  # what Lightning finds itself


def resolve_ckpt_path(verb: str, config: Namespace) -> Path | None:
    """The file that a verb starts from; None: it starts from nothing.

    Raises:
        UserError: If it needs one.
    """
    root = Path(config["trainer"]["default_root_dir"] or ".")
    if config["ckpt_path"] in NEWEST and verb != "fit" and not Path(config["ckpt_path"]).exists():
        path = newest_checkpoint(root, config["ckpt_path"])
        if getattr(rank_zero_only, "rank", 0) == 0:
            print(f"{config['ckpt_path']}: {path}")
        return path
    if config["ckpt_path"] is not None:
        return local_file(config["ckpt_path"], "--ckpt_path", ", such as last.ckpt or unet_voc.pth")
    newest = newest_weights(root)
    # Weights that were fine-tuned already are taken by name only: doing it twice would compound.
    if verb == "finetune" and (fitted := newest_weights(root, "fit")) is not None:
        print(f"fine-tuning the newest weights of fit: {fitted}")
        return fitted
    if verb not in ("fit", "tune"):
        hint = f"the newest are {newest}" if newest else "fit makes them: unet_voc.pth in the run's folder"
        raise UserError(f"{verb} needs --ckpt_path FILE, the weights to use; {hint}")
    return None


def check_scoring_flags(verb: str, config: Namespace) -> None:
    """Whether flags that change how images are predicted are given to a verb that does nothing else.

    Training validates on the images as they are, so that `finetune` compares like with like.

    Raises:
        UserError: If not.
    """
    scales = tuple(config["tta"]["scales"])
    given = {
        "--tta.flip": bool(config["tta"]["flip"]),
        "--tta.scales": scales != (1.0,),
        "--original_resolution.sliding_window": bool(config["original_resolution"]["sliding_window"]),
    }
    if verb not in ("validate", "test", "predict") and any(given.values()):
        flag = next(name for name, value in given.items() if value)
        raise UserError(
            f"{flag} is for validate, test and predict: leave it out of {verb}, and score the weights with "
            "test"
        )


class InitialWeights:
    """What the flags' defaults are, once weights and class list are known; typed flags go before them."""

    def __init__(self, verb: str, config: Namespace) -> None:
        """Read the files that the user names.

        Args:
            verb: The command.
            config: What was typed, by its flags.

        Raises:
            UserError: If a file is needed but missing, or is something else.
        """
        self._verb = verb
        path = config["data"]["classes"]
        self.classes: ClassList = known_classes(path and Path(path), config["data"]["mask_values"])
        self.defaults: dict[str, Any] = {} if path is None else {"model.num_classes": len(self.classes)}
        self.path = resolve_ckpt_path(verb, config)
        self._description: dict[str, Any] | None = None
        self._shape: dict[str, str | int] = {}
        if self.path is not None:
            self._read(self.path)

    def _read(self, path: Path) -> None:
        """What the weights say; training takes those of other classes too, and those that say nothing."""
        trains = self._verb in _TRAINING
        self._description = (read_pretrained if trains else read_weights)(path).description
        if self._description is None:
            return
        self._shape = network_shape(self._description)
        if trains:
            self._shape.pop("num_classes")
            self.defaults["model.num_classes"] = len(self.classes)
        self.defaults |= {f"model.{name}": value for name, value in self._shape.items()}
        self.defaults |= {"data.image_size": self._description["size"]} if self._description["size"] else {}

    def apply(self, config: Namespace) -> None:
        """See that flags and weights agree, and let the run start from the weights.

        Raises:
            UserError: If they do not.
        """
        if self.path is None:
            return
        check_shape(self.path, self._shape, config["model"])
        if self._description is not None and self._verb not in (*_TRAINING, "predict"):
            check_classes(self.path, self._description, self.classes)
        config["ckpt_path"] = str(self.path)
        config["model"]["encoder_weights"] = None  # the file has the encoder's weights too


def load_initial_weights(model: LightningModule | None, ckpt_path: str | Path | None) -> str | Path | None:
    """Fill the model from a file; what Lightning must resolve itself ("best", "last") is handed on."""
    if not isinstance(model, SegmentationModule) or ckpt_path in (None, *OWN_WORDS):
        return ckpt_path
    assert ckpt_path is not None
    model.class_list = described_classes(load_weights(model, ckpt_path))
    model.loaded_from = Path(ckpt_path)
    return None


def begin_with_other_classes(model: LightningModule | None, ckpt_path: str | Path | None) -> str | None:
    """Fill the model from weights of other classes than its data's.

    Args:
        model: With the class list of its data.
        ckpt_path: The weights.

    Returns:
        Which rows of the last layer were copied, for the user; None: the weights are of the same classes, and
        nothing was done.

    Raises:
        UserError: If they are of another network.
    """
    if not isinstance(model, SegmentationModule) or ckpt_path in (None, *OWN_WORDS):
        return None
    assert ckpt_path is not None
    pretrained = read_pretrained(ckpt_path)
    if pretrained.knows(model.class_list):
        return None
    model.loaded_from = Path(ckpt_path)
    return transfer(model, pretrained, model.class_list)


def validate_class_count(model: LightningModule | None, data: LightningDataModule | None) -> None:
    """Whether the network can take these images and tells as many classes apart as their masks hold.

    Raises:
        UserError: If not.
    """
    if isinstance(model, SegmentationModule) and isinstance(data, VOCDataModule):
        model.network.check_size(data.image_size)
        if model.num_classes != len(data.classes):
            raise UserError(
                f"--model.num_classes {model.num_classes}: the masks hold {len(data.classes)} classes"
            )
        model.class_list = data.classes
