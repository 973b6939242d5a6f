"""`benchmark`: speed and scores of each format."""

import platform
import tempfile
from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import PositiveInt

from vocseg.checkpoints.weights import read_weights, rebuilt
from vocseg.deploy.benchmark import EAGER, Speed, Variant, given_file, make_variants, measure_speed
from vocseg.deploy.images import network_input, run_data, sample_images, score_network, training_images
from vocseg.errors import UserError
from vocseg.inference.backends import file_format, read_description
from vocseg.utils.atomic_write import atomic_write
from vocseg.utils.json_values import STDOUT, as_json
from vocseg.utils.streams import usable_cores

_FORMATS: tuple[Literal["pytorch", "torch_export", "onnx", "openvino"], ...] = (
    *("pytorch", "torch_export", "onnx", "openvino"),
)


def benchmark(
    ckpt_path: Path,
    formats: list[Literal["pytorch", "torch_export", "onnx", "openvino"]] | None = None,
    image_size: PositiveInt | None = None,
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
        image_size: Side length of the network's input in pixels; default: that of training.
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
    size = image_size or (description["export"]["size"] if exported else description["size"])
    if size is None:
        raise UserError(f"--ckpt_path {ckpt_path} has no size. Give --image_size, for example 256.")
    data = run_data(data_root, ckpt_path, description, int(size), max_val_samples) if data_root else None
    images = training_images(data, 32) if data else sample_images(32).images
    with tempfile.TemporaryDirectory() as folder:
        if exported:
            precision = description["export"]["precision"]
            variants = given_file(ckpt_path, file_format(ckpt_path), precision)
        else:
            network = rebuilt(read_weights(ckpt_path), ckpt_path)
            chosen = formats or _FORMATS
            variants = make_variants(network, description, int(size), chosen, images, Path(folder), ckpt_path)
        cores = usable_cores()
        threads = [1, cores] if cores > 1 else [1]
        speeds = measure_speed(variants, network_input(images[0], int(size)), threads, int(rounds))
        scores = _scores(variants, data, cores) if data else {}
    result = {
        "ckpt_path": str(ckpt_path),
        "image_size": int(size),
        "rounds": int(rounds),
        "processor": _processor(),
        "speeds": [each.as_dict() for each in speeds],
        "scores": scores,
    }
    if json == STDOUT:
        print(as_json(result))
        return result
    if json is not None:
        atomic_write(json, as_json(result) + "\n")
    _print(result, speeds)
    return result


def _scores(variants: list[Variant], data: Any, threads: int) -> dict[str, dict[str, Any]]:
    """Mean IoU by variant, with the paired difference to eager PyTorch."""
    scorers = {each.name: score_network(each.load(threads), data, each.name) for each in variants}
    found: dict[str, dict[str, Any]] = {}
    for name, scorer in scorers.items():
        found[name] = {"mean_iou": scorer.compute()["mean_iou"], "images": len(scorer)}
        if EAGER in scorers and name != EAGER:
            difference = scorer.compare(scorers[EAGER]).measures["mean_iou"].difference
            found[name] |= {
                "difference": difference.estimate,
                "low": difference.low,
                "high": difference.high,
            }
    return found


def _processor() -> str:
    """Name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _print(result: dict[str, Any], speeds: list[Speed]) -> None:
    from rich.console import Console
    from rich.table import Table

    scores, size = result["scores"], result["image_size"]
    table = Table(title=f"{size}x{size} pixels, {result['processor']}, medians of {result['rounds']} rounds")
    for head in ("format", "threads", "ms/image", "speed-up", "images/s", "at batch", "MB"):
        table.add_column(head, justify="left" if head == "format" else "right")
    if scores:
        table.add_column("mean IoU %", justify="right")
        table.add_column("difference, points", justify="right")
    last = speeds[0].threads
    for each in speeds:
        if each.threads != last:
            table.add_section()
            last = each.threads
        cells = [
            *(each.name, str(each.threads), f"{each.latency_ms:.1f}"),
            "" if each.speedup is None else f"{each.speedup:.2f}",
            *(f"{each.images_per_s:.1f}", str(each.batch), f"{each.megabytes:.1f}"),
        ]
        if scores:
            cells += _score_cells(scores[each.name])
        table.add_row(*cells)
    Console(width=None).print(table)
    if any(each.speedup is not None for each in speeds):
        print("speed-up: of one image, against eager PyTorch in the same round")


def _score_cells(score: dict[str, Any]) -> list[str]:
    mean = "" if score["mean_iou"] is None else f"{100 * score['mean_iou']:.2f}"
    if score.get("difference") is None:
        return [mean, ""]
    ends = "" if score["low"] is None else f" [{100 * score['low']:+.2f}, {100 * score['high']:+.2f}]"
    return [mean, f"{100 * score['difference']:+.2f}{ends}"]
