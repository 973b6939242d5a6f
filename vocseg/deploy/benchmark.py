"""Latency and throughput of a network in each format."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vocseg.checkpoints.compatibility import Description
from vocseg.data.image_io import Bytes
from vocseg.deploy.convert import (
    SUFFIXES,
    metadata,
    onnx_model,
    openvino_model,
    save_onnx,
    save_openvino,
    write_exported,
)
from vocseg.deploy.images import network_input
from vocseg.deploy.quantize import plain_network, quantized
from vocseg.inference.backends import load_trained
from vocseg.inference.exported import ExportSettings
from vocseg.models.network import Network

Format = Literal["pytorch", "onnx", "openvino", "torch_export"]
EAGER = "pytorch float32"  # contiguous, as smp builds it: what the others are compared with
_BATCHES = (1, 4, 8)
_CALIBRATED_ON = 32  # images


@dataclass(frozen=True)
class Variant:
    """A network in one format and precision.

    Attributes:
        name: Format and precision.
        load: Function from the number of threads to the network.
        megabytes: Size of its files.
    """

    name: str
    load: Callable[[int], nn.Module]
    megabytes: float


@dataclass
class Speed:
    """Speed of a variant.

    Attributes:
        name: Format and precision.
        threads: Number of threads.
        latency_ms: Median time of one image, in milliseconds.
        speedup: Eager PyTorch's latency over this one, paired round by round; the median.
        batch: Batch size of the highest throughput.
        images_per_s: That throughput, a median.
        megabytes: Size of its files.
    """

    name: str
    threads: int
    latency_ms: float
    speedup: float | None
    batch: int
    images_per_s: float
    megabytes: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def make_variants(
    network: Network,
    description: Description,
    size: int,
    formats: Sequence[Format],
    images: Sequence[Bytes],
    folder: Path,
    file: Path,
) -> list[Variant]:
    """Export a network in every format and precision.

    Args:
        network: The network.
        description: Its description.
        size: Side length of its input in pixels.
        formats: Formats to make.
        images: Calibration images of int8, uint8 `[H,W,3]`.
        folder: Folder of the files.
        file: The weights.
    """
    exact = ExportSettings("logits", size, dynamic_batch=True)
    found: list[Variant] = []
    if "pytorch" in formats:
        megabytes = _megabytes(file)
        plain = plain_network(network, description)
        found += [
            Variant(EAGER, lambda _: plain, megabytes),
            Variant("pytorch channels-last", lambda _: network, megabytes),
        ]
    if "torch_export" in formats:
        path = folder / f"float32{SUFFIXES['torch_export']}"
        write_exported(path, "torch_export", network, description, exact)
        found.append(_of_file("torch_export float32", path))
    graphs = [each for each in formats if each in ("onnx", "openvino")]
    model = onnx_model(network, exact) if graphs else None
    batches = [network_input(image, size).numpy() for image in images[:_CALIBRATED_ON]]
    for kind in graphs:
        for settings in (exact, exact._replace(precision="int8")):
            path = folder / f"{settings.precision}{SUFFIXES[kind]}"
            whole = model if kind == "onnx" else openvino_model(model)
            if settings.precision == "int8":
                whole = quantized(kind, model, batches, ())
            (save_onnx if kind == "onnx" else save_openvino)(whole, path, metadata(description, settings))
            found.append(_of_file(f"{kind} {settings.precision}", path))
    return found


def given_file(file: Path, kind: str, precision: str) -> list[Variant]:
    """Return the variant of an exported file."""
    return [_of_file(f"{kind} {precision}", file)]


def _of_file(name: str, path: Path) -> Variant:
    return Variant(name, lambda threads: load_trained(path, threads).network, _megabytes(path))


def _megabytes(path: Path) -> float:
    parts = [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]
    return sum(part.stat().st_size for part in parts) / 1e6


def measure_speed(
    variants: Sequence[Variant], image: Tensor, thread_counts: Sequence[int], rounds: int
) -> list[Speed]:
    """Measure all variants in turn, round by round, so that a busy machine slows all alike.

    Args:
        variants: The variants.
        image: uint8 `[1,3,S,S]`.
        thread_counts: Numbers of threads.
        rounds: Rounds; each runs every variant once at each batch size.
    """
    found = []
    for threads in thread_counts:
        with _torch_threads(threads):
            networks = [each.load(threads) for each in variants]
            times = {batch: _times(networks, image.expand(batch, -1, -1, -1), rounds) for batch in _BATCHES}
        eager = next((k for k, each in enumerate(variants) if each.name == EAGER), None)
        for k, variant in enumerate(variants):
            rates = {batch: batch / statistics.median(each[k]) for batch, each in times.items()}
            best = max(rates, key=lambda batch: rates[batch])
            alone = times[1][k]
            ratios = [] if eager is None else np.divide(times[1][eager], alone).tolist()
            found.append(
                Speed(
                    variant.name,
                    threads,
                    1e3 * statistics.median(alone),
                    statistics.median(ratios) if ratios else None,
                    best,
                    rates[best],
                    variant.megabytes,
                )
            )
    return found


def _times(networks: Sequence[nn.Module], image: Tensor, rounds: int) -> list[list[float]]:
    """Seconds of every round, by network."""
    image = image.contiguous()
    times: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for network in networks:  # the first runs allocate and choose kernels
            network(image)
        for _ in range(rounds):
            for network, own in zip(networks, times, strict=True):
                start = time.perf_counter()
                network(image)
                own.append(time.perf_counter() - start)
    return times


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
