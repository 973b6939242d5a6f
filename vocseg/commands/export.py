"""`export`: files for use outside this project."""

from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeFloat, PositiveInt

from vocseg.checkpoints.weights import Weights, read_weights, rebuilt
from vocseg.deploy.convert import SUFFIXES, ExportFormat
from vocseg.deploy.export import Source, default_path, export_float, next_commands, record_path, usage
from vocseg.deploy.images import run_data, sample_images, validation_images
from vocseg.deploy.parity import CHECKED
from vocseg.deploy.quantize import Int8Options, export_int8
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
        for flag, given in {"--int8": int8, "--output": output, "--dynamic_batch": dynamic_batch}.items():
            if given:
                raise UserError(f"{flag} is not for --format pth. Choose --format onnx, for example.")
        return _export_state_dict(weights, ckpt_path, output_file)
    if int8 and data_root is None:
        raise UserError("--int8 needs --data_root FOLDER, images to calibrate and to score on.")
    description = weights.description
    size = image_size or description["size"]
    if size is None or size % network.step:
        raise UserError(
            f"--image_size {size}: this network needs a multiple of {network.step} pixels, for example 256"
        )
    kind: ExportFormat = format
    path = output_file or default_path(ckpt_path, kind, int8)
    if path.suffix != SUFFIXES[kind]:
        raise UserError(f"--output_file {path}: {kind} needs the ending {SUFFIXES[kind]}.")
    settings = ExportSettings(output or "mask", int(size), dynamic_batch)
    data = None
    if data_root is not None:
        data = run_data(data_root, ckpt_path, description, int(size), max_val_samples)
    images = sample_images(CHECKED) if data is None else validation_images(data, CHECKED)
    source = Source(network, description, images)
    if int8:
        assert data is not None  # checked above
        for line in export_int8(
            source, path, kind, settings, Int8Options(data, calibration_images, max_drop)
        ):
            print(line, flush=True)  # each takes minutes
    else:
        print(export_float(source, path, kind, settings).line)
    print(f"wrote {path}, and the comparison in {record_path(path)}. Use it with\n")
    print(f"{usage(path, kind, settings)}\n{next_commands(path, data_root)}")
    return path


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
