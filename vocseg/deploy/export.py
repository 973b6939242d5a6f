"""`export`: files for use outside this project, compared with PyTorch."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeFloat, PositiveInt

from vocseg.checkpoints.weights import Weights, read_weights, rebuilt
from vocseg.deploy.convert import SUFFIXES, ExportFormat, staged, write_exported
from vocseg.deploy.images import data_images, run_data, sample_images
from vocseg.deploy.parity import CHECKED, Source, check_parity, write_record
from vocseg.deploy.quantize import export_int8
from vocseg.errors import UserError
from vocseg.inference.backends import file_format
from vocseg.inference.exported import ExportSettings
from vocseg.utils.safe_load import write_tensors


def export(
    ckpt_path: Path,
    format: Literal["pth", "onnx", "openvino", "torch_export"] = "pth",
    output: Literal["mask", "logits", "probabilities"] | None = None,
    output_file: Path | None = None,
    image_size: PositiveInt | None = None,
    dynamic_batch: bool = False,
    int8: bool = False,
    data_root: Path | None = None,
    calibration_images: PositiveInt = 128,
    max_val_samples: PositiveInt | None = None,
    max_drop: NonNegativeFloat = 2.0,
) -> Path:
    """Write a network for use without vocseg. Every file but `pth` is compared with PyTorch first.

    Args:
        ckpt_path: `unet_voc.pth` or `.ckpt` file of a run.
        format: Output format; `pth`: bare state dict for `segmentation_models_pytorch`; `onnx`; `openvino`:
            IR, `.xml` and `.bin`; `torch_export`: `.pt2`.
        output: First output; `mask`: classes at the size of the image, which may be any; `logits` or
            `probabilities` at the input resolution. Default: `mask`.
        output_file: File to write; default: beside the weights.
        image_size: Side length of the network's input in pixels; default: that of training.
        dynamic_batch: Any number of images at once; default: one.
        int8: Post-training quantisation, of `onnx` and `openvino`. Needs `data_root`.
        data_root: Data set of the comparison, calibration and scores, with the folders and splits of the run;
            default: images of the sample set, for the comparison only.
        calibration_images: Number of training images that set the ranges of int8.
        max_val_samples: Number of val images that are scored for int8; default: all.
        max_drop: Largest loss of mean IoU in int8, in points of 100.

    Returns:
        The written file.

    Raises:
        UserError: If the weights cannot be read, flags do not fit together, a package is missing, the file
            differs from PyTorch, or int8 loses too much.
    """
    if file_format(ckpt_path) != "pytorch":
        raise UserError(f"--ckpt_path {ckpt_path} is an exported file. Give the weights it was made from.")
    weights = read_weights(ckpt_path)
    network = rebuilt(weights, ckpt_path)  # validates the weights against the network in their metadata
    if output_file is not None and output_file.resolve() == ckpt_path.resolve():
        raise UserError(f"--output_file {output_file} is the weights file itself. Pass another file.")
    if format == "pth":
        if int8 or output or dynamic_batch:
            raise UserError(
                "--int8, --output and --dynamic_batch are not for --format pth. Choose onnx, for example."
            )
        return _export_state_dict(weights, ckpt_path, output_file)
    if int8 and (data_root is None or format == "torch_export"):
        raise UserError(
            "--int8 needs --data_root FOLDER, to calibrate and to score on, and --format onnx or openvino."
        )
    size = image_size or weights.description["size"]
    if size is None or size % network.step:
        raise UserError(
            f"--image_size {size}: this network needs a multiple of {network.step} pixels, for example 256"
        )
    suffix = SUFFIXES[format]
    path = output_file or ckpt_path.with_name(f"{ckpt_path.stem}{'_int8' if int8 else ''}{suffix}")
    if path.suffix != suffix:
        raise UserError(f"--output_file {path}: {format} needs the ending {suffix}.")
    settings = ExportSettings(output or "mask", int(size), dynamic_batch)
    data = data_root and run_data(data_root, ckpt_path, weights.description, int(size), max_val_samples)
    images = data_images(data, "val", CHECKED) if data else sample_images(CHECKED)
    source = Source(network, weights.description, images)
    lines = (
        export_int8(source, path, settings, data, calibration_images, max_drop)
        if data and int8
        else _export_float(source, path, format, settings)
    )
    for line in lines:
        print(line, flush=True)  # each takes minutes
    _print_use(path, settings, data_root)
    return path


def _export_float(source: Source, path: Path, kind: ExportFormat, settings: ExportSettings) -> Iterator[str]:
    """Write a file in float32 and yield the line of its comparison. Nothing is left if they differ."""
    with staged(path) as part:
        write_exported(part, kind, source.network, source.description, settings)
        parity = check_parity(source, part, path)
        write_record(part, parity, {"format": kind, "precision": "float32"})
    yield parity.line


def _print_use(path: Path, settings: ExportSettings, data_root: Path | None) -> None:
    """Print the written files, input and outputs, and the commands that take the file."""
    size = "any size" if settings.output == "mask" else f"{settings.size}x{settings.size} pixels"
    count = "any number of images" if settings.dynamic_batch else "one image"
    outputs = "`, `".join(settings.outputs)
    print(f"wrote {path}, and the comparison in {path}.json")
    print(f"input    `image`, RGB uint8 [N,3,H,W], {count} of {size}; outputs `{outputs}`")
    file, root = shlex.quote(str(path)), f" --data.root {shlex.quote(str(data_root))}" if data_root else ""
    print(f"next     python -m vocseg test --ckpt_path {file}{root}")
    print(f"         python -m vocseg predict --ckpt_path {file} --data.predict_dir FOLDER")


def _export_state_dict(weights: Weights, ckpt_path: Path, output_file: Path | None) -> Path:
    """Write the bare state dict of the smp model."""
    output = output_file or ckpt_path.with_name(f"{ckpt_path.stem}_smp.pth")
    write_tensors(weights.state_dict, output)
    about, norm = weights.description, weights.description["normalisation"]
    print(f"wrote {output}. Load it with\n")
    print(f'    model = segmentation_models_pytorch.create_model("{about["arch"]}", "{about["encoder"]}",')
    print(f"        encoder_weights=None, classes={len(about['classes'])})")
    print(f'    model.load_state_dict(torch.load("{output}", weights_only=True))\n')
    print(f"Input: (RGB / 255 - {norm['mean']}) / {norm['std']}")
    return output
