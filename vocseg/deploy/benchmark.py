"""`benchmark`: latency, throughput and scores of a network in each format."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from vocseg.checkpoints.compatibility import Description
from vocseg.checkpoints.weights import read_weights, rebuilt
from vocseg.constants import STDOUT
from vocseg.data.datamodule import VOCDataModule
from vocseg.data.image_io import Bytes
from vocseg.deploy.convert import SUFFIXES, onnx_model, openvino_model, save_model, write_exported
from vocseg.deploy.images import data_images, network_input, run_data, sample_images, score_network
from vocseg.deploy.quantize import plain_network, quantized
from vocseg.errors import UserError
from vocseg.inference.backends import file_format, load_trained, read_description
from vocseg.inference.exported import ExportSettings
from vocseg.models.network import Network
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.regular_file import as_json
from vocseg.utils.streams import usable_cores

Format = Literal["pytorch", "torch_export", "onnx", "openvino"]
EAGER = "pytorch float32"  # contiguous, as smp builds it: what the others are compared with
_BATCHES = (1, 4, 8)
_CALIBRATED_ON = 32  # images


class Variant(NamedTuple):
    """A network in one format and precision."""

    name: str  # format and precision
    load: Callable[[int], nn.Module]  # from the number of threads
    megabytes: float  # of its files


class Speed(NamedTuple):
    """Speed of a variant."""

    name: str
    threads: int
    latency_ms: float  # median time of one image
    speedup: float | None  # eager PyTorch's latency over this one, paired round by round; the median
    batch: int  # batch size of the highest throughput
    images_per_s: float  # that throughput, a median
    megabytes: float


def benchmark(
    ckpt_path: Path,
    formats: list[Format] | None = None,
    rounds: PositiveInt = 10,
    data_root: Path | None = None,
    max_val_samples: PositiveInt | None = None,
    json: Path | None = None,
) -> dict[str, Any]:
    """Measure latency and throughput of each format and precision on this machine.

    All are measured in turn, round by round; medians are shown. int8 is not tuned here, as `export --int8`
    does: its score is that of quantising every layer.

    Args:
        ckpt_path: `unet_voc.pth` or `.ckpt` of a run, or an exported file, which is measured alone.
        formats: Formats; default: all.
        rounds: Number of rounds.
        data_root: Data set for calibration and mean IoU, with the folders and splits of the run; default:
            calibration on images of the sample set, no mean IoU.
        max_val_samples: Number of val images that are scored; default: all.
        json: JSON file of the results; `-`: standard output, without the table.

    Returns:
        The results as plain values.

    Raises:
        UserError: If the file cannot be read, or a package is missing.
    """
    description = read_description(ckpt_path)
    exported = file_format(ckpt_path) != "pytorch"
    size = description["export"]["size"] if exported else description["size"]
    if size is None:
        raise UserError(f"--ckpt_path {ckpt_path} has no size. Give weights of a run.")
    data = run_data(data_root, ckpt_path, description, size, max_val_samples) if data_root else None
    images = data_images(data, "train", _CALIBRATED_ON) if data else sample_images(_CALIBRATED_ON)
    cores = usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        if exported:
            name = f"{file_format(ckpt_path)} {description['export']['precision']}"
            variants = [_of_file(name, ckpt_path)]
        else:
            chosen = formats or list(get_args(Format))
            variants = make_variants(ckpt_path, description, chosen, images, Path(folder))
        speeds = measure_speed(variants, network_input(images[0], size), sorted({1, cores}), int(rounds))
        scores = _scores(variants, data, cores) if data else {}
    result: dict[str, Any] = {"ckpt_path": str(ckpt_path), "image_size": size, "rounds": int(rounds)}
    result |= {"speeds": [each._asdict() for each in speeds], "scores": scores}
    if json == STDOUT:
        print(as_json(result))
        return result
    if json is not None:
        atomic_write(json, as_json(result) + "\n")
    _print_table(result, speeds)
    return result


def make_variants(
    file: Path, description: Description, formats: Sequence[Format], images: Sequence[Bytes], folder: Path
) -> list[Variant]:
    """Export the weights `file` to a folder, in every format and precision.

    `images` are the calibration images of int8, uint8 `[H,W,3]`.
    """
    network: Network = rebuilt(read_weights(file), file)
    size = description["size"]
    settings = ExportSettings("logits", size, dynamic_batch=True)
    found: list[Variant] = []
    if "pytorch" in formats:
        plain, megabytes = plain_network(network, description), _megabytes(file)
        found.append(Variant(EAGER, lambda _: plain, megabytes))
        found.append(Variant("pytorch channels-last", lambda _: network, megabytes))
    if "torch_export" in formats:
        path = folder / f"float32{SUFFIXES['torch_export']}"
        write_exported(path, "torch_export", network, description, settings)
        found.append(_of_file("torch_export float32", path))
    graphs = [each for each in formats if each in ("onnx", "openvino")]
    model = onnx_model(network, settings) if graphs else None
    batches = [network_input(image, size).numpy() for image in images]
    for kind in graphs:
        exact = model if kind == "onnx" else openvino_model(model)
        int8 = settings._replace(precision="int8")
        for each, made in ((settings, exact), (int8, quantized(kind, model, batches, ()))):
            path = folder / f"{each.precision}{SUFFIXES[kind]}"
            save_model(made, path, description, each)
            found.append(_of_file(f"{kind} {each.precision}", path))
    return found


def _of_file(name: str, path: Path) -> Variant:
    return Variant(name, lambda threads: load_trained(path, threads).network, _megabytes(path))


def _megabytes(path: Path) -> float:
    """Size of a file, with the `.bin` of an IR file."""
    parts = {path, path.with_suffix(".bin") if path.suffix == ".xml" else path}
    return sum(part.stat().st_size for part in parts) / 1e6


def measure_speed(
    variants: Sequence[Variant], image: Tensor, thread_counts: Sequence[int], rounds: int
) -> list[Speed]:
    """Measure all variants in turn, round by round, so that a busy machine slows all alike.

    A round runs every variant once at each batch size, on copies of an image uint8 `[1,3,S,S]`.
    """
    found = []
    eager = next((k for k, each in enumerate(variants) if each.name == EAGER), None)
    for threads in thread_counts:
        with _torch_threads(threads):
            networks = [each.load(threads) for each in variants]
            times = {batch: _times(networks, image.expand(batch, -1, -1, -1), rounds) for batch in _BATCHES}
        for k, variant in enumerate(variants):
            rates = {batch: batch / statistics.median(each[k]) for batch, each in times.items()}
            best = max(rates, key=lambda batch: rates[batch])
            ratio = None if eager is None else float(np.median(np.divide(times[1][eager], times[1][k])))
            latency = 1e3 * statistics.median(times[1][k])
            found.append(Speed(variant.name, threads, latency, ratio, best, rates[best], variant.megabytes))
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


def _scores(variants: list[Variant], data: VOCDataModule, threads: int) -> dict[str, dict[str, Any]]:
    """Mean IoU by variant, with the paired difference to eager PyTorch."""
    scorers = {each.name: score_network(each.load(threads), data, each.name) for each in variants}
    found: dict[str, dict[str, Any]] = {}
    for name, scorer in scorers.items():
        found[name] = {"mean_iou": scorer.compute()["mean_iou"], "images": len(scorer)}
        if EAGER in scorers and name != EAGER:
            difference = scorer.compare(scorers[EAGER]).measures["mean_iou"].difference
            found[name] |= {"difference": difference.estimate, "low": difference.low, "high": difference.high}
    return found


def _print_table(result: dict[str, Any], speeds: list[Speed]) -> None:
    from rich.console import Console
    from rich.table import Table

    scores, size = result["scores"], result["image_size"]
    table = Table(title=f"{size}x{size} pixels, medians of {result['rounds']} rounds")
    table.add_column("format")
    heads = ["threads", "ms/image", "speed-up", "images/s", "at batch", "MB"]
    for head in [*heads, "mean IoU %", "difference, points"] if scores else heads:
        table.add_column(head, justify="right")
    for k, each in enumerate(speeds):
        if k and each.threads != speeds[k - 1].threads:
            table.add_section()
        table.add_row(
            *(each.name, str(each.threads), f"{each.latency_ms:.1f}"),
            "" if each.speedup is None else f"{each.speedup:.2f}",
            *(f"{each.images_per_s:.1f}", str(each.batch), f"{each.megabytes:.1f}"),
            *(_score_cells(scores[each.name]) if scores else ()),
        )
    Console().print(table)
    print("speed-up: of one image, against eager PyTorch in the same round")


def _score_cells(score: dict[str, Any]) -> list[str]:
    mean = "" if score["mean_iou"] is None else f"{100 * score['mean_iou']:.2f}"
    if score.get("difference") is None:
        return [mean, ""]
    ends = "" if score["low"] is None else f" [{100 * score['low']:+.2f}, {100 * score['high']:+.2f}]"
    return [mean, f"{100 * score['difference']:+.2f}{ends}"]
