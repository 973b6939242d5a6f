"""Encoder weights from local files."""

from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from vocseg.errors import UserError
from vocseg.utils.file_type import local_file
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
