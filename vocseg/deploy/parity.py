"""Comparison of an exported file with PyTorch."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vocseg.checkpoints.compatibility import Description
from vocseg.data.image_io import Bytes
from vocseg.deploy.images import network_input
from vocseg.errors import UserError
from vocseg.inference.backends import load_trained
from vocseg.inference.exported import ExportedNetwork, Precision
from vocseg.metrics.upsample import argmax_upsampled
from vocseg.models.network import Network
from vocseg.utils.regular_file import as_json

CHECKED = 8  # images
_SHARE: dict[Precision, float] = {"float32": 0.995, "int8": 0.8}  # least share of equal pixels
_DIFFERENCE = 1e-3  # largest difference of float32, as a fraction of the range of PyTorch's values


class Source(NamedTuple):
    """Network to export, in eval mode, the description of its weights, and images to compare on."""

    network: Network
    description: Description
    images: list[Bytes]  # RGB uint8 [H,W,3]


class Parity(NamedTuple):
    """Differences between an exported file and PyTorch."""

    images: int  # number of images
    values: str  # output whose differences were measured: logits or probabilities
    largest_difference: float  # absolute
    largest_allowed: float | None  # its tolerance; None: not limited, as in int8
    equal_pixels: float  # share of pixels with the same class
    least_allowed: float  # its tolerance

    @property
    def passed(self) -> bool:
        """Return whether both are within their tolerance. NaN is not."""
        near = self.largest_allowed is None or self.largest_difference <= self.largest_allowed
        return bool(near and np.isfinite(self.largest_difference) and self.equal_pixels >= self.least_allowed)

    @property
    def line(self) -> str:
        """One line for the terminal."""
        limit = "" if self.largest_allowed is None else f" (allowed {self.largest_allowed:.2g})"
        return (
            f"parity with PyTorch on {self.images} images: largest difference of "
            f"{self.values} {self.largest_difference:.2g}{limit}, equal pixels "
            f"{100 * self.equal_pixels:.3f} % (at least {100 * self.least_allowed:g} %)"
        )


def measure_parity(network: Network, exported: ExportedNetwork, images: list[Bytes]) -> Parity:
    """Compare an exported file with the network that it was made from.

    Values are compared at the input resolution. Classes too, but for a file of masks: from the image at its
    original resolution to the mask at the same, with the resizing of `predict`.
    """
    settings = exported.settings
    name = settings.outputs[-1]
    largest, spread, equal, pixels = 0.0, 1.0, 0, 0
    for image in images:
        small = network_input(image, settings.size)
        with torch.inference_mode():
            logits = network(small)
        expected = (logits.softmax(1) if name == "probabilities" else logits).numpy()
        found = exported.outputs(small)[name]
        largest = float(np.maximum(largest, np.abs(found - expected).max()))  # NaN stays
        spread = max(spread, float(np.ptp(expected)))
        if settings.output == "mask":
            classes = argmax_upsampled(logits[0], (image.shape[0], image.shape[1])).numpy()
            whole = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
            same = exported.outputs(whole)["mask"][0] == classes
        else:
            same = found.argmax(1) == expected.argmax(1)
        equal, pixels = equal + int(same.sum()), pixels + same.size
    allowed = _DIFFERENCE * spread if settings.precision == "float32" else None
    share = _SHARE[settings.precision]
    return Parity(len(images), name, largest, allowed, equal / pixels, share)


def check_parity(source: Source, part: Path, file: Path) -> Parity:
    """Compare a file that was just written as `part` as `measure_parity` does; `file`: its final name.

    Raises:
        UserError: If a difference is above its tolerance.
    """
    exported: Any = load_trained(part).network
    parity = measure_parity(source.network, exported, source.images)
    if not parity.passed:
        raise UserError(
            f"{file} was not written: it differs from PyTorch. P{parity.line[1:]}. Try another --format, or "
            "leave out --int8."
        )
    return parity


def write_record(part: Path, parity: Parity, content: dict[str, object]) -> None:
    """Write the comparison and further content to `FILE.json`, beside an exported file."""
    found = {"file": part.name, **content, "parity": {**parity._asdict(), "passed": parity.passed}}
    part.with_name(f"{part.name}.json").write_text(as_json(found) + "\n")
