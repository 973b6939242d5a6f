"""Network: normalisation, an smp model, and files of encoder weights."""

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
from vocseg.performance.options import PerformanceOptions
from vocseg.utils.regular_file import local_file
from vocseg.utils.safe_load import read_tensors

StateDict = dict[str, Tensor]

_HEADS = ("fc.", "classifier.", "head.", "head_drop.", "last_linear.", "logits.")


def load_encoder_file(encoder: nn.Module, path: Path) -> None:
    """Load a file of ImageNet weights into an encoder.

    Keys are matched by name, else by order if the roles and shapes of all tensors agree: torchvision and timm
    have the same layers in the same order under other names.

    Args:
        encoder: Encoder of smp.
        path: `.safetensors` file, or a state dict of `torch.save`, read with `weights_only=True`.

    Raises:
        UserError: If the file is missing, is no state dict, or belongs to another encoder.
    """
    found = {key: value for key, value in _read(path).items() if not key.startswith(_HEADS)}
    wanted = {key: value for key, value in encoder.state_dict().items() if not _counter(key)}
    matched = _by_name(found, wanted) or _by_order(found, wanted)
    if matched is None:
        lacking = next((key for key in wanted if key not in found), next(iter(wanted)))
        raise UserError(
            f"--model.encoder_weights {path}: these are not the weights of this encoder: its '{lacking}' "
            f"{list(wanted[lacking].shape)} has no counterpart in the file"
        )
    encoder.load_state_dict({**encoder.state_dict(), **matched})


def _read(path: Path) -> StateDict:
    flag = "--model.encoder_weights"
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(local_file(path, flag))
        except (SafetensorError, OSError) as fault:
            raise UserError(
                f"{flag} {path}: not a readable file of weights (safetensors: {fault}); get it anew"
            ) from fault
    content = read_tensors(path, flag)
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            f"--model.encoder_weights {path}: holds no state dict (names of parameters with tensors)"
        )
    return content


def _counter(key: str) -> bool:
    # Unused with a fixed momentum, and left out by some converters.
    return key.endswith("num_batches_tracked")


def _by_name(found: StateDict, wanted: StateDict) -> StateDict | None:
    """Match equal names, or those within smp's wrapper of timm models."""
    for prefix in ("", "model."):
        matched = {key: found.get(key.removeprefix(prefix)) for key in wanted}
        if all(value is not None and value.shape == wanted[key].shape for key, value in matched.items()):
            return {key: value for key, value in matched.items() if value is not None}
    return None


def _by_order(found: StateDict, wanted: StateDict) -> StateDict | None:
    """Match equal roles (weight, bias, ...) and shapes in order. The rest is the head."""
    ours = [(key, value) for key, value in wanted.items()]
    theirs = [(key, value) for key, value in found.items() if not _counter(key)]

    def signature(items: list[tuple[str, Tensor]]) -> list[tuple[str, tuple[int, ...]]]:
        return [(key.rsplit(".", 1)[-1], value.shape) for key, value in items]

    if signature(ours) != signature(theirs)[: len(ours)]:
        return None
    return {key: value for (key, _), (_, value) in zip(ours, theirs, strict=False)}


_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")  # of local weights
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
    except Exception as fault:  # smp, timm and the hub raise nearly anything
        if weights is None:
            said = shown(" ".join(str(fault).split()) or type(fault).__name__, 200)
            raise UserError(
                f"--model.encoder {encoder}: cannot be built under --model.arch {arch} ({said}): take "
                "another encoder, such as resnet34"
            ) from fault
        _create(arch, encoder, None, classes)  # raises if encoder and decoder do not go together
        raise UserError(
            f"the ImageNet weights of {encoder} could not be fetched ({type(fault).__name__}): name a local "
            "file with --model.encoder_weights FILE (.pth or .safetensors; torchvision's or timm's keys), or "
            "start from random weights with --model.encoder_weights null"
        ) from fault


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
