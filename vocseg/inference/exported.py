"""Network of an exported file."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import check_description
from vocseg.errors import UserError, shown
from vocseg.performance.options import PerformanceOptions

Output = Literal["mask", "logits", "probabilities"]
Precision = Literal["float32", "int8"]
Run = Callable[[npt.NDArray[np.uint8]], dict[str, npt.NDArray[Any]]]  # images [N,3,H,W] to outputs by name

KEY = "vocseg"  # of the description in an exported file
INPUT = "image"
MOST_BYTES = 2 << 30  # of an exported file
_MOST_EDGE = 8192  # pixels


class ExportSettings(NamedTuple):
    """Settings of an export, stored in the file."""

    output: Output  # first output
    size: int  # side length of the network's input in pixels
    dynamic_batch: bool = False  # any number of images at once; False: one
    precision: Precision = "float32"  # of most layers
    kept: tuple[str, ...] = ()  # layers in float32 of an int8 file

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs. A file of masks also has the logits, so that it can be scored."""
        return ("mask", "logits") if self.output == "mask" else (self.output,)


def parsed_description(path: Path, text: str | bytes) -> Description:
    """Parse and check the description in a file, whose entry `export` has the `ExportSettings`.

    Raises:
        UserError: If it is missing or invalid.
    """
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise UserError(
            f"--ckpt_path {path}: has no description of vocseg, so its classes and size are unknown. "
            "Use a file that `export` wrote."
        )
    check_description(path, description)
    found = description.get("export")
    if not (
        isinstance(found, dict)
        and found.keys() == set(ExportSettings._fields)
        and found["output"] in get_args(Output)
        and type(found["size"]) is int
        and 1 <= found["size"] <= _MOST_EDGE
        and type(found["dynamic_batch"]) is bool
        and found["precision"] in get_args(Precision)
        and isinstance(found["kept"], list)
    ):
        raise UserError(
            f"--ckpt_path {path}: its entry `export` is not what vocseg writes. Export the weights again."
        )
    return description


class ExportedNetwork(nn.Module):
    """An exported file with the interface of `Network` for inference.

    Attributes:
        description: Description in the file.
        settings: Settings of the export.
        step: Number of which side lengths must be multiples, in pixels.
        performance: Options of a network that is neither compiled nor captured.
    """

    def __init__(self, run: Run, description: Description, path: Path) -> None:
        """Wrap a function from images uint8 `[N,3,H,W]` to outputs by name."""
        super().__init__()
        self._run, self._path, self.description = run, path, description
        self.settings = ExportSettings(**description["export"])
        self.step, self.performance = 1, PerformanceOptions(cuda_graphs=False)

    def check_size(self, size: int) -> None:
        """Raise `UserError` if the file is for another input resolution."""
        if size != self.settings.size:
            raise UserError(
                f"--ckpt_path {self._path}: takes {self.settings.size} pixels each way, not {size}. Leave "
                f"out --data.image_size and --tta.scales, or export with --image_size {size}."
            )

    def outputs(self, image: Tensor) -> dict[str, npt.NDArray[Any]]:
        """Run the file.

        Args:
            image: uint8 `[N,3,H,W]`; S x S pixels, and any size in a file of masks.

        Returns:
            Outputs by name: `mask` uint8 `[N,H,W]`, `logits` or `probabilities` float32 `[N,C,S,S]`.

        Raises:
            UserError: If the file cannot be run on the image, or has other outputs.
        """
        pixels, size = np.ascontiguousarray(image.cpu().numpy()), self.settings.size
        parts = [pixels] if self.settings.dynamic_batch else np.split(pixels, len(pixels))
        try:
            found = [self._run(part) for part in parts]
            joined = {name: np.concatenate([each[name] for each in found]) for name in self.settings.outputs}
        except Exception as error:  # each library raises its own
            raise unusable(self._path, "run", error) from error
        for name, array in joined.items():
            mask = name == "mask"
            shape = pixels.shape[2:] if mask else (len(self.description["classes"]), size, size)
            if array.shape != (len(pixels), *shape) or array.dtype != (np.uint8 if mask else np.float32):
                raise UserError(
                    f"--ckpt_path {self._path}: its output {name} is {array.dtype} {array.shape}, not as its "
                    "description says. Export the weights again."
                )
        return joined

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits of a batch.

        Args:
            image: uint8 `[N,3,S,S]` RGB.

        Returns:
            float32 `[N,C,S,S]` on the same device: logits, or the logarithms of probabilities, which have the
            same softmax and the same argmax also after upsampling.

        Raises:
            UserError: If the images have another size, or the file cannot be run.
        """
        self.check_size(image.shape[-1])
        name = self.settings.outputs[-1]
        values = torch.from_numpy(self.outputs(image)[name]).to(image.device)
        return values.clamp(min=torch.finfo(torch.float32).tiny).log() if name == "probabilities" else values


def unusable(path: Path, what: str, error: Exception) -> UserError:
    """Return the error of a file that a library cannot load or run; `what`: the verb."""
    reason = shown(" ".join(str(error).split()) or type(error).__name__, 160)
    return UserError(f"--ckpt_path {path}: cannot be {what} ({reason}). Export the weights again.")


def damaged(path: Path, kind: str) -> UserError:
    """Return the error of a file that is not of the kind that its name says."""
    return UserError(f"--ckpt_path {path}: is not {kind}, or is damaged. Use another.")


def unexpected(path: Path, what: str) -> UserError:
    """Return the error of a file with parts that `export` does not write."""
    return UserError(
        f"--ckpt_path {path}: contains {shown(what, 100)}, which `export` never writes. It is not loaded."
    )


def import_optional(name: str, what: str) -> Any:
    """Import a module of the extra `deploy`, or raise `UserError`; `what`: that which needs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(f'{what} needs the package {package}: type pip install "vocseg[deploy]"') from error
