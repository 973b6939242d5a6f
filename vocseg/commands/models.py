"""`models`: decoders and encoders for `--model.arch` and `--model.encoder`."""

import warnings
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from vocseg.errors import UserError, shown

_DECODER_OF = "resnet34"  # encoder of the networks whose decoders are counted
_CLASSES = 21


def models(search: str = "") -> None:
    """List decoders and encoders, their parameters in millions, and the pretrained weights of encoders.

    Args:
        search: Part of the name of an encoder; also as the positional argument. Default: all.

    Raises:
        UserError: If no encoder has such a name.
    """
    import segmentation_models_pytorch as smp

    names = [name for name in smp.encoders.get_encoder_names() if search.lower() in name]
    if not names:
        raise UserError(
            f"models {shown(search)}: smp has no such encoder. List all without a name; encoders of timm are "
            "`--model.encoder tu-NAME`."
        )
    million = Column("million", justify="right")
    decoders = Table("--model.arch", million, title=f"decoders (counted under {_DECODER_OF})")
    encoders = Table("--model.encoder", million, "--model.encoder_weights", title="encoders")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # smp's and timm's, of deprecated names
        for row in () if search else _decoders():
            decoders.add_row(*row)
        for name in names:
            weights = ", ".join(smp.encoders.encoders[name]["pretrained_settings"])
            encoders.add_row(name, _encoder_millions(name), weights or "-")
    console = Console()
    if not search:
        console.print(decoders)
    console.print(encoders)
    print(f"next     python -m vocseg fit --model.encoder {names[0]}")


def _decoders() -> Iterator[tuple[str, str]]:
    import segmentation_models_pytorch as smp
    import torch

    for name in smp.MODEL_ARCHITECTURES_MAPPING:
        encoder = "tu-vit_tiny_patch16_224.augreg_in21k" if name == "dpt" else _DECODER_OF
        with torch.device("meta"):
            model: Any = smp.create_model(name, encoder, encoder_weights=None, classes=_CLASSES)
        yield name, _millions(model, model.encoder) + (" (a ViT encoder)" if name == "dpt" else "")


def _encoder_millions(name: str) -> str:
    import segmentation_models_pytorch as smp
    import torch

    try:
        with torch.device("meta"):  # without memory
            return _millions(smp.encoders.get_encoder(name, weights=None))
    except (RuntimeError, NotImplementedError):  # some constructors compute values
        return _millions(smp.encoders.get_encoder(name, weights=None))


def _millions(model: Any, without: Any = None) -> str:
    skipped = 0 if without is None else sum(each.numel() for each in without.parameters())
    return f"{(sum(each.numel() for each in model.parameters()) - skipped) / 1e6:.1f}"
