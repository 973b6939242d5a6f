"""Resolution of `--ckpt_path` and its validation against the flags."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only

from vocseg.checkpoints.compatibility import check_classes, check_shape, described_classes, network_shape
from vocseg.checkpoints.run_dir import newest_checkpoint, newest_weights
from vocseg.checkpoints.transfer import read_pretrained, transfer
from vocseg.checkpoints.weights import load_weights
from vocseg.data.classes import ClassList, known_classes
from vocseg.errors import UserError
from vocseg.inference.backends import file_format, load_trained, read_description
from vocseg.models.module import SegmentationModule
from vocseg.utils.regular_file import local_file

_TRAINING = ("fit", "finetune")  # verbs that take weights of other classes

NEWEST = ("best", "last")  # checkpoints of the newest run
OWN_WORDS = (*NEWEST, "hpc")  # resolved by Lightning


def resolve_ckpt_path(verb: str, config: Namespace) -> Path | None:
    """Find the file that a verb starts from; None: `fit` starts without one.

    Raises:
        UserError: If there is no such file, or the verb needs one.
    """
    root = Path(config["trainer"]["default_root_dir"] or ".")
    given = config["ckpt_path"]
    if given in NEWEST and not Path(given).exists():
        if verb == "fit":
            raise UserError(
                f"--ckpt_path {given}: fit begins a new run. Resume one with: python -m vocseg resume RUN"
            )
        path = newest_checkpoint(root, given)
        if getattr(rank_zero_only, "rank", 0) == 0:
            print(f"{given}: {path}")
        return path
    if given is not None:
        return local_file(given, "--ckpt_path", ", such as last.ckpt or unet_voc.pth")
    # Fine-tuned weights are never the default: fine-tuning twice would compound.
    if verb == "finetune" and (newest := newest_weights(root, "fit")) is not None:
        print(f"fine-tuning the newest weights of fit: {newest}")
        return newest
    if verb != "fit":
        newest = newest_weights(root)
        hint = (
            f"The newest are {newest}" if newest else "fit writes them as unet_voc.pth in the run directory"
        )
        raise UserError(f"{verb} needs --ckpt_path FILE, the weights to use. {hint}.")
    return None


class InitialWeights:
    """Defaults of flags that follow from the given weights and class list. Typed flags override them."""

    def __init__(self, verb: str, config: Namespace) -> None:
        """Read the given files, or raise a `UserError`."""
        self._verb = verb
        path = config["data"]["classes"]
        self.classes: ClassList = known_classes(path and Path(path), config["data"]["mask_values"])
        self.defaults: dict[str, Any] = {} if path is None else {"model.num_classes": len(self.classes)}
        self.path = resolve_ckpt_path(verb, config)
        self._description: dict[str, Any] | None = None
        if self.path is None:
            return
        trains = verb in _TRAINING  # takes weights of other classes, and bare state dicts
        if trains and file_format(self.path) != "pytorch":
            raise UserError(
                f"--ckpt_path {self.path}: is an exported file, which cannot be trained. Give the weights it "
                "was made from, unet_voc.pth or a .ckpt."
            )
        self._description = read_pretrained(self.path).description if trains else read_description(self.path)
        if self._description is None:
            return
        shape = network_shape(self._description) | ({"num_classes": len(self.classes)} if trains else {})
        self.defaults |= {f"model.{name}": value for name, value in shape.items()}
        self.defaults |= {"data.image_size": self._description["size"]} if self._description["size"] else {}

    def check_classes(self) -> None:
        """Raise a `UserError` if the classes of scored masks are not those of the weights."""
        if self.path is None or self._description is None:
            return
        if self._verb not in (*_TRAINING, "predict"):
            check_classes(self.path, self._description, self.classes)


def load_initial_weights(model: LightningModule | None, ckpt_path: str | Path | None) -> str | Path | None:
    """Load a file into the model, or return what Lightning must load itself ("best", "last", "hpc")."""
    if not isinstance(model, SegmentationModule) or ckpt_path is None or ckpt_path in OWN_WORDS:
        return ckpt_path
    if file_format(ckpt_path) == "pytorch":
        description = load_weights(model, ckpt_path)
    else:
        trained = load_trained(ckpt_path)
        description = trained.description
        check_shape(Path(ckpt_path), network_shape(description), model.hparams)
        model.network = trained.network  # type: ignore[assignment]  # with Network's interface for inference
    model.class_list = described_classes(description)
    model.loaded_from = Path(ckpt_path)
    return None


def begin_with_other_classes(model: LightningModule | None, ckpt_path: str | Path | None) -> str | None:
    """Load weights of other classes than the data's into the model.

    Returns:
        A sentence on the rows of the last layer that were copied. None if the classes are the same, in which
        case nothing is loaded.
    """
    if not isinstance(model, SegmentationModule) or ckpt_path is None or ckpt_path in OWN_WORDS:
        return None
    pretrained = read_pretrained(ckpt_path)
    if pretrained.has_classes(model.class_list):
        return None
    model.loaded_from = Path(ckpt_path)
    return transfer(model, pretrained, model.class_list)
