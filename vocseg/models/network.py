"""Network: normalisation, an smp model, and files of encoder weights."""

import logging
import warnings
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vocseg.constants import IMAGENET_MEAN, IMAGENET_STD
from vocseg.errors import UserError, shown
from vocseg.performance.options import PerformanceOptions
from vocseg.utils.regular_file import local_file
from vocseg.utils.safe_load import read_tensors

StateDict = dict[str, Tensor]

_FLAG = "--model.encoder_weights"
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")  # of local weights
_HEADS = ("fc.", "classifier.", "head.", "head_drop.", "last_linear.", "logits.")


def load_encoder_file(encoder: nn.Module, path: Path) -> None:
    """Load a file of ImageNet weights into an encoder.

    Keys are those of smp, which for many encoders are torchvision's; for `tu-` encoders those of timm.

    Args:
        encoder: Encoder of smp.
        path: `.safetensors` file, or a state dict of `torch.save`, read with `weights_only=True`.

    Raises:
        UserError: If the file is missing, is not a state dict, or belongs to another encoder.
    """
    found = {key: value for key, value in _read(path).items() if not key.startswith(_HEADS)}
    # Counters are unused with a fixed momentum, and left out by some converters.
    wanted = {key: v for key, v in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    matched: StateDict = {}
    for key, value in wanted.items():
        name = key if key in found else key.removeprefix("model.")  # of smp's wrapper of timm
        if name not in found or found[name].shape != value.shape:
            raise UserError(
                f"{_FLAG} {path}: these are not the weights of this encoder: its '{key}' {list(value.shape)} "
                "has no counterpart in the file. Use another file."
            )
        matched[key] = found[name]
    encoder.load_state_dict({**encoder.state_dict(), **matched})


def _read(path: Path) -> StateDict:
    if path.suffix == ".safetensors":
        try:
            return load_file(local_file(path, _FLAG))
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{_FLAG} {path}: not a readable file of weights ({error}). Copy it again."
            ) from error
    content = read_tensors(path, _FLAG)
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{_FLAG} {path}: has no state dict (names of parameters with tensors). Use another.")
    return content


DEFAULT_OPTIONS = PerformanceOptions()


class Network(nn.Module):
    """Normalisation on the device and an smp model, whose parameters are under `model.`."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, performance: PerformanceOptions = DEFAULT_OPTIONS) -> None:
        """Wrap a model.

        Args:
            model: Model from float `[N,3,H,W]`, normalised as for ImageNet, to logits `[N,C,H,W]`.
            performance: Performance options.
        """
        super().__init__()
        performance.prepare(model)
        self.model, self.performance = model, performance
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits of a batch.

        Args:
            image: uint8 `[N,3,H,W]` RGB.

        Returns:
            float32 logits `[N,C,H,W]`, also under autocast.
        """
        pixels = (image - self.mean) / self.std
        if not self.performance.channels_last:
            pixels = pixels.contiguous()
        # Evaluation has varying sizes, and each would be compiled anew.
        scores = self.performance.compile is not None and not self.training
        logits: Tensor = self.model.forward(pixels) if scores else self.model(pixels)
        return logits.float()  # under CPU autocast a loss on bf16 logits is wrong by 2 %

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the decoder takes images of `size` x `size`."""
        if size % self.step:
            raise UserError(
                f"--data.image_size {size}: this network needs a multiple of {self.step}, for example 256"
            )

    @property
    def encoder(self) -> nn.Module:
        """Encoder of the model."""
        model: Any = self.model
        encoder: nn.Module = model.encoder
        return encoder

    @property
    def head(self) -> list[str]:
        """Names of the parameters with a row for each class: weight and bias of the last convolution."""
        names = [name for name in self.model.state_dict() if name.startswith("segmentation_head.")]
        last = [name for name in names if name.endswith(".weight")][-1]
        return [name for name in (last, f"{last.removesuffix('weight')}bias") if name in names]

    @property
    def step(self) -> int:
        """Number of which side lengths of images must be multiples, in pixels."""
        model: Any = self.model
        return int(model.encoder.output_stride) if model.requires_divisible_input_shape else 1


def build_network(
    arch: str,
    encoder: str,
    encoder_weights: str | None,
    classes: int,
    performance: PerformanceOptions = DEFAULT_OPTIONS,
) -> Network:
    """Build a network from names.

    Args:
        arch: Decoder, by smp's name, for example `unet`.
        encoder: Encoder, by smp's name, for example `resnet34`, or `tu-` and a timm name.
        encoder_weights: `imagenet` (downloaded by smp), a local `.pth` or `.safetensors` file, or None.
        classes: Number of classes C.
        performance: Performance options.

    Raises:
        UserError: If a name is unknown, a file does not fit, or the weights cannot be downloaded.
    """
    if classes < 2:
        raise UserError(f"--model.num_classes {classes}: a network needs at least 2 classes. Give more.")
    path = Path(encoder_weights or "")
    local = path.suffix in _SUFFIXES
    model = _create(arch, encoder, None if local else encoder_weights, classes)
    if local:
        load_encoder_file(model.encoder, path)
    return Network(model, performance)


def _create(arch: str, encoder: str, weights: str | None, classes: int) -> Any:
    """Create the smp model, with encoder weights from the hub if given."""
    if weights is not None:
        print(f"downloading the {weights} weights of {encoder}, unless they are in the cache", flush=True)
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a line for every retry
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*timm universal.*")
            return smp.create_model(arch, encoder_name=encoder, encoder_weights=weights, classes=classes)
    except Exception as error:  # smp, timm and the hub raise nearly anything
        reason = shown(" ".join(str(error).split()) or type(error).__name__, 240)
        if weights is None:
            raise UserError(
                f"--model.encoder {encoder}: cannot be built under --model.arch {arch} ({reason}). Take "
                "others: `python -m vocseg models` lists them."
            ) from error
        _create(arch, encoder, None, classes)  # raises if a name is unknown, or the two do not go together
        raise UserError(
            f"{_FLAG} {weights}: the weights of {encoder} could not be fetched ({reason}). Give a local "
            "file (.pth or .safetensors; its keys), or null for random weights."
        ) from error
