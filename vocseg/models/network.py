"""Network: normalisation and an smp model."""

import logging
import warnings
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vocseg.constants import IMAGENET_MEAN, IMAGENET_STD
from vocseg.errors import UserError, shown
from vocseg.models.encoder_weights import load_encoder_file
from vocseg.performance.options import PerformanceOptions

_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")  # of local weights
_DEFAULT_OPTIONS = PerformanceOptions()


class Network(nn.Module):
    """Normalisation on the device and an smp model, whose parameters are under `model.`."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, performance: PerformanceOptions = _DEFAULT_OPTIONS) -> None:
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
        """Check that the decoder takes images of `size` x `size`.

        Raises:
            UserError: If not.
        """
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
    performance: PerformanceOptions = _DEFAULT_OPTIONS,
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
    path = None if encoder_weights is None else Path(encoder_weights)
    local = path is not None and path.suffix in _SUFFIXES
    _check_names(arch, encoder, None if local else encoder_weights, classes)
    model = _create(arch, encoder, None if local else encoder_weights, classes)
    if local and path is not None:
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
    except (OSError, RuntimeError, SafetensorError) as fault:  # OSError, RuntimeError: the hub's
        if weights is None:
            raise _unsuitable(arch, encoder, fault) from fault
        raise UserError(
            f"the ImageNet weights of {encoder} could not be fetched ({type(fault).__name__}): name a local "
            "file with --model.encoder_weights FILE (.pth or .safetensors; torchvision's or timm's keys), or "
            "start from random weights with --model.encoder_weights null"
        ) from fault
    except (
        Exception
    ) as fault:  # smp and timm raise nearly anything for a pair of names that does not go together
        raise _unsuitable(arch, encoder, fault) from fault


def _unsuitable(arch: str, encoder: str, fault: Exception) -> UserError:
    """Return the error of an encoder whose features the decoder cannot use."""
    said = shown(" ".join(str(fault).split()) or type(fault).__name__, 200)
    return UserError(
        f"--model.encoder {encoder}: cannot be built under --model.arch {arch} ({said}): take another "
        "encoder, such as resnet34"
    )


def _check_names(arch: str, encoder: str, weights: str | None, classes: int) -> None:
    if arch not in smp.MODEL_ARCHITECTURES_MAPPING:
        known = ", ".join(smp.MODEL_ARCHITECTURES_MAPPING)
        raise UserError(f"--model.arch {arch}: there is no such decoder; smp has {known}")
    if classes < 2:
        raise UserError(f"--model.num_classes {classes}: a network needs at least 2 classes")
    if encoder.startswith("tu-"):
        _check_timm(encoder)
    elif encoder not in smp.encoders.get_encoder_names():
        near = _nearest(encoder, smp.encoders.get_encoder_names())
        raise UserError(f"--model.encoder {encoder}: there is no such encoder; {near}")
    if weights is not None and not encoder.startswith("tu-"):
        settings = smp.encoders.encoders[encoder]["pretrained_settings"]
        if weights not in settings:
            raise UserError(
                f"--model.encoder_weights {weights}: {encoder} has {', '.join(settings)}; or name a .pth or "
                ".safetensors file, or null for random weights"
            )


def _check_timm(encoder: str) -> None:
    import timm

    if not timm.is_model(encoder[3:].split(".")[0]):
        near = _nearest(encoder[3:], timm.list_models())
        raise UserError(f"--model.encoder {encoder}: timm has no such model; {near}")


def _nearest(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=3)
    return f"do you mean {' or '.join(near)}?" if near else "see smp's list of encoders"
