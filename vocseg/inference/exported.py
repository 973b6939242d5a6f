"""Network of an exported file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
Bytes = npt.NDArray[np.uint8]
Run = Callable[[Bytes], dict[str, npt.NDArray[Any]]]  # images [N,3,H,W] to outputs by name

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


def exported_settings(path: Path, description: Any) -> tuple[Description, ExportSettings]:
    """Check the parsed description in a file, and return it with the settings of the export in it.

    Raises:
        UserError: If it is missing or invalid.
    """
    if not isinstance(description, dict):
        raise UserError(
            f"--ckpt_path {path}: has no description of vocseg, so its classes and size are unknown. "
            "Use a file that `export` wrote."
        )
    check_description(path, description)
    found = description.get("export")
    plain = found if isinstance(found, dict) else {}
    size, kept = plain.get("size"), plain.get("kept")
    valid = (
        plain.keys() == set(ExportSettings._fields)
        and plain["output"] in ("mask", "logits", "probabilities")
        and type(size) is int
        and 1 <= size <= _MOST_EDGE
        and type(plain["dynamic_batch"]) is bool
        and plain["precision"] in ("float32", "int8")
        and isinstance(kept, list)
        and all(isinstance(name, str) for name in kept)
    )
    if not valid:
        raise UserError(
            f"--ckpt_path {path}: its entry `export` is not what vocseg writes. Export the weights again."
        )
    return description, ExportSettings(**{**plain, "kept": tuple(plain["kept"])})


class ExportedNetwork(nn.Module):
    """An exported file with the interface of `Network` for inference.

    Attributes:
        settings: Settings of the export.
        step: Number of which side lengths must be multiples, in pixels.
        performance: Options of a network that is neither compiled nor captured.
    """

    def __init__(self, run: Run, settings: ExportSettings, classes: int, path: Path) -> None:
        """Wrap a function from images uint8 `[N,3,H,W]` to outputs by name; `classes`: their number C."""
        super().__init__()
        self._run, self.settings, self._classes, self._path = run, settings, classes, path
        self.step, self.performance = 1, PerformanceOptions(cuda_graphs=False)

    def check_size(self, size: int) -> None:
        """Check an input resolution.

        Raises:
            UserError: If the file is for another one.
        """
        if size != self.settings.size:
            raise UserError(
                f"--data.image_size {size}: {self._path} was exported for {self.settings.size}. Leave the "
                f"flag out, or export with --image_size {size}."
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
        pixels = np.ascontiguousarray(image.cpu().numpy())
        parts = [pixels] if self.settings.dynamic_batch else np.split(pixels, len(pixels))
        try:
            found = [self._run(part) for part in parts]
            joined = {name: np.concatenate([each[name] for each in found]) for name in self.settings.outputs}
        except Exception as error:  # each library raises its own
            raise _failed(self._path, "cannot be run", error) from error
        size = self.settings.size
        for name, array in joined.items():
            kind = np.dtype(np.uint8 if name == "mask" else np.float32)
            wanted = pixels.shape[2:] if name == "mask" else (self._classes, size, size)
            if array.shape != (len(pixels), *wanted) or array.dtype != kind:
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
        size = self.settings.size
        if image.shape[2:] != (size, size) or image.dtype != torch.uint8:
            raise UserError(
                f"--ckpt_path {self._path}: takes uint8 images of {size}x{size} pixels. Leave out "
                "--tta.scales and --data.image_size, or use the weights that it was exported from."
            )
        name = self.settings.outputs[-1]
        values = torch.from_numpy(self.outputs(image)[name]).to(image.device)
        return values.clamp(min=torch.finfo(torch.float32).tiny).log() if name == "probabilities" else values


def unreadable(path: Path, error: BaseException) -> UserError:
    """Return the error of a file that a library cannot load."""
    return _failed(path, "cannot be loaded", error)


def _failed(path: Path, what: str, error: BaseException) -> UserError:
    if isinstance(error, UserError):
        return error
    reason = shown(" ".join(str(error).split()) or type(error).__name__, 160)
    return UserError(f"--ckpt_path {path}: {what} ({reason}). Export the weights again.")


def missing(package: str, what: str) -> UserError:
    """Return the error of a package that is not installed."""
    return UserError(f'{what} needs the package {package}: type pip install "vocseg[deploy]"')
