"""Post-training quantisation to int8, with a limit to the loss of mean IoU."""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vocseg.checkpoints.compatibility import Description, network_shape
from vocseg.data.datamodule import VOCDataModule
from vocseg.deploy.convert import onnx_model, openvino_model, quiet, save_model, staged
from vocseg.deploy.images import data_images, network_input, score_network
from vocseg.deploy.parity import Source, check_parity, write_record
from vocseg.errors import UserError
from vocseg.inference.backends import file_format, load_trained
from vocseg.inference.exported import INPUT, ExportSettings, import_optional
from vocseg.metrics.paired_test import Comparison
from vocseg.models.network import Network, build_network
from vocseg.performance.options import PerformanceOptions

_WARNED = 0.5  # points of mean IoU
_KEPT = (0, 1, 3, 7, 15)  # numbers of layers in float32 that are tried in turn
_RANKED_ON = 2  # images
_PREFIX = "network.model."  # of the parameters in an export
Batches = list[npt.NDArray[np.uint8]]


def export_int8(
    source: Source,
    path: Path,
    settings: ExportSettings,
    data: VOCDataModule,
    calibration_images: int,
    max_drop: float,
) -> Iterator[str]:
    """Quantise a network, score it and write the file. Nothing is left if it loses too much.

    The float32 file is compared with PyTorch first. Then layers return to float32, the most sensitive first,
    until the loss is at most 0.5 points.

    Yields:
        Lines for the terminal, as soon as they are known.

    Raises:
        UserError: If a package is missing, or a limit is exceeded.
    """
    images = data_images(data, "train", calibration_images)
    batches = [network_input(image, settings.size).numpy() for image in images]
    kind, about = file_format(path), source.description
    with staged(path) as part:
        model = onnx_model(source.network, settings)
        save_model(model if kind == "onnx" else openvino_model(model), part, about, settings)
        yield check_parity(source, part, path).line
        before = score_network(load_trained(part).network, data, "float32")
        ranking: list[str] = []
        for count in _KEPT:
            if count and not ranking:
                ranking = sensitive_layers(plain_network(source.network, about), batches[:_RANKED_ON])
            trial = settings._replace(precision="int8", kept=tuple(ranking[:count]))
            save_model(quantized(kind, model, batches, trial.kept), part, about, trial)
            found = score_network(load_trained(part).network, data, "int8").compare(before)
            line = _line(found, trial.kept)
            yield line
            if drop(found) <= _WARNED:
                break
        if drop(found) > max_drop:
            raise UserError(
                f"{path} was not written: {line}, above --max_drop {max_drop:g}. Use the "
                "float32 file, more --calibration_images, or a larger --max_drop."
            )
        if drop(found) > _WARNED:
            yield f"warning: int8 loses more than {_WARNED:g} points of mean IoU"
        parity = check_parity(source, part, path)
        yield parity.line
        content = {"format": kind, "precision": "int8", "kept_in_float32": list(trial.kept)}
        comparison = {name: each for name, each in found.as_dict().items() if name != "images"}
        write_record(part, parity, {**content, "comparison": comparison})


def drop(found: Comparison) -> float:
    """Return the loss of mean IoU in points of 100."""
    return -100 * (found.measures["mean_iou"].difference.estimate or 0.0)


def _line(found: Comparison, kept: Sequence[str]) -> str:
    each = found.measures["mean_iou"]
    low, high = each.difference.low, each.difference.high
    ends = "" if low is None or high is None else f" [{100 * low:+.2f}, {100 * high:+.2f}]"
    return (
        f"mean IoU {100 * (each.before or 0):.2f} in float32, {100 * (each.after or 0):.2f} in int8, "
        f"{len(kept)} layers in float32: {-drop(found):+.2f}{ends} points"
    )


def quantized(kind: str, model: Any, batches: Batches, kept: Sequence[str]) -> Any:
    """Quantise an `onnx.ModelProto` to int8, as `onnx.ModelProto` or `openvino.Model`.

    Pre- and postprocessing stay in float32.

    Args:
        kind: onnx or openvino.
        model: The network in float32.
        batches: Calibration images, each uint8 `[1,3,S,S]`.
        kept: Names of layers that stay in float32.
    """
    nodes = list(model.graph.node)
    convolutions = [k for k, node in enumerate(nodes) if node.op_type in ("Conv", "ConvTranspose")]
    weights = {f"{_PREFIX}{name}.weight" for name in kept}
    exact = [
        node.name
        for k, node in enumerate(nodes)
        if not convolutions[0] <= k <= convolutions[-1] or (k in convolutions and node.input[1] in weights)
    ]
    return (_quantized_onnx if kind == "onnx" else _quantized_openvino)(model, batches, exact)


def _quantized_onnx(model: Any, batches: Batches, exact: list[str]) -> Any:
    tools = import_optional("onnxruntime.quantization", "--int8")
    onnx = import_optional("onnx", "--int8")

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        tools.quantize_static(
            copy.deepcopy(model),
            path,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            # Without VNNI, products of 8-bit numbers overflow 16 bits: weights have 7.
            reduce_range=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_exclude=exact,
            calibrate_method=tools.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        return onnx.load(path)


def _quantized_openvino(model: Any, batches: Batches, exact: list[str]) -> Any:
    with quiet():
        nncf = import_optional("nncf", "--int8")
        converted = openvino_model(model)
        # A convolution of ONNX with a bias is two nodes of OpenVINO: `NAME/WithoutBiases` and `NAME`.
        names = [each.get_friendly_name() for each in converted.get_ordered_ops()]
        ignored = [name for name in names if name.partition("/")[0] in exact]
        return nncf.quantize(
            converted,
            nncf.Dataset(batches),
            subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=ignored),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE  # as reduce_range above
            ),
        )


def plain_network(network: Network, description: Description) -> Network:
    """Return a copy of a network as smp builds it: contiguous, every layer called as a module."""
    shape = network_shape(description)
    options = PerformanceOptions(channels_last=False, cpu_fuse_upsample=False)
    arch, encoder, classes = str(shape["arch"]), str(shape["encoder"]), int(shape["num_classes"])
    copied = build_network(arch, encoder, None, classes, options)
    copied.load_state_dict(network.state_dict())
    return copied.eval()


def sensitive_layers(network: Network, batches: Batches) -> list[str]:
    """Return the names of the convolutions, those that change the logits most in int8 first.

    Each layer alone of a `plain_network` gets weights of 8 bits per channel and inputs of 8 bits per tensor.
    """
    image = torch.from_numpy(np.concatenate(batches))
    layers = {name: each for name, each in network.model.named_modules() if isinstance(each, nn.Conv2d)}
    with torch.inference_mode():
        exact = network(image)
        errors = {name: _error_in_int8(network, layer, image, exact) for name, layer in layers.items()}
    return sorted(errors, key=lambda name: -errors[name])


def _error_in_int8(network: nn.Module, layer: nn.Conv2d, image: Tensor, exact: Tensor) -> float:
    """Mean squared difference of the logits if one layer is quantised."""
    weight = layer.weight.data
    hook = layer.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0], inputs[0].abs().amax()),))
    layer.weight.data = _rounded(weight, weight.abs().amax((1, 2, 3), keepdim=True))
    try:
        return float((network(image) - exact).square().mean())
    finally:
        layer.weight.data = weight
        hook.remove()


def _rounded(values: Tensor, largest: Tensor) -> Tensor:
    """Values rounded to 127 steps on each side of 0."""
    step = largest.clamp(min=1e-12) / 127
    return (values / step).round() * step
