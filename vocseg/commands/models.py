"""`models`: decoders and encoders for `--model.arch` and `--model.encoder`."""

import warnings
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from vocseg.errors import UserError, shown

_DECODER_OF = "resnet34"  # encoder of the networks whose decoders are counted
_CLASSES = 21
_MOST_TIMM = 40  # models of timm in one table


def models(search: str = "", timm: bool = False) -> None:
    """List decoders and encoders, their parameters in millions, and the pretrained weights of encoders.

    Args:
        search: Part of the name of an encoder; also as the positional argument. Default: all.
        timm: Encoders of timm (for `--model.encoder tu-NAME`) instead of those of smp.

    Raises:
        UserError: If no encoder has such a name.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # smp's and timm's, of deprecated names
        rows = _timm_rows(search) if timm else _smp_rows(search)
        console = Console()
        if not search and not timm:
            table = Table("--model.arch", "decoder, million", title=f"decoders (counted under {_DECODER_OF})")
            for name, millions in _decoders():
                table.add_row(name, millions)
            console.print(table)
    table = Table("--model.encoder", Column("million", justify="right"), "--model.encoder_weights")
    table.title = "encoders, with their parameters"
    for row in rows:
        table.add_row(*row)
    console.print(table)
    example = rows[0][0]
    print(f"next     python -m vocseg fit --model.encoder {example}")
    if not timm:
        print("         python -m vocseg models --timm true --search convnext   (more encoders, of timm)")


def _decoders() -> list[tuple[str, str]]:
    import segmentation_models_pytorch as smp
    import torch

    found = []
    for name in smp.MODEL_ARCHITECTURES_MAPPING:
        encoder = "tu-vit_tiny_patch16_224.augreg_in21k" if name == "dpt" else _DECODER_OF
        with torch.device("meta"):
            model: Any = smp.create_model(name, encoder, encoder_weights=None, classes=_CLASSES)
        found.append((name, _millions(model, model.encoder) + (" (a ViT encoder)" if name == "dpt" else "")))
    return found


def _smp_rows(search: str) -> list[tuple[str, str, str]]:
    import segmentation_models_pytorch as smp

    names = [name for name in smp.encoders.get_encoder_names() if search.lower() in name]
    if not names:
        raise UserError(
            f"models {shown(search)}: smp has no such encoder. Search timm with --timm true, or list all "
            "without a name."
        )
    weights = {name: smp.encoders.encoders[name]["pretrained_settings"] for name in names}
    return [(name, _encoder_millions(name), ", ".join(weights[name]) or "-") for name in names]


def _timm_rows(search: str) -> list[tuple[str, str, str]]:
    import timm

    names = timm.list_models(f"*{search}*" if search else "*")
    if not names:
        raise UserError(
            f"models {shown(search)}: timm has no such encoder. Give a part of a name, as convnext."
        )
    if len(names) > _MOST_TIMM:
        raise UserError(
            f"models --timm true: {len(names):,} models have such a name, more than {_MOST_TIMM}. Give a "
            "longer part of a name with --search, such as convnext."
        )
    pretrained = {name.split(".")[0] for name in timm.list_models(pretrained=True)}  # without their tags
    rows = ((f"tu-{name}", _encoder_millions(f"tu-{name}"), name in pretrained) for name in names)
    return [(name, millions, "imagenet" if has else "-") for name, millions, has in rows]


def _encoder_millions(name: str) -> str:
    """Parameters of an encoder, built without memory where that is possible; `-`: it cannot be an encoder."""
    import segmentation_models_pytorch as smp
    import torch

    for device in ("meta", "cpu"):  # some constructors compute values, which tensors on `meta` do not have
        try:
            with torch.device(device):
                return _millions(smp.encoders.get_encoder(name, weights=None))
        except Exception:  # timm raises nearly anything for a network without a pyramid of features
            continue
    return "-"


def _millions(model: Any, without: Any = None) -> str:
    skipped = 0 if without is None else sum(each.numel() for each in without.parameters())
    return f"{(sum(each.numel() for each in model.parameters()) - skipped) / 1e6:.1f}"
