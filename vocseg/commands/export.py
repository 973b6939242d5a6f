"""`export`: weights for use outside this project."""

from pathlib import Path
from typing import Literal

from vocseg.checkpoints.weights import read_weights, rebuilt
from vocseg.errors import UserError
from vocseg.utils.safe_load import write_tensors


def export(ckpt_path: Path, format: Literal["pth"] = "pth", output: Path | None = None) -> Path:
    """Write the bare state dict of the smp model.

    Args:
        ckpt_path: `unet_voc.pth` or `.ckpt` file of a run.
        format: Output format; `pth`: state dict for `segmentation_models_pytorch`.
        output: File to write; default: next to the weights, with the suffix `_smp`.

    Returns:
        The written file.

    Raises:
        UserError: If the weights cannot be read, do not fit their network, or would be overwritten.
    """
    weights = read_weights(ckpt_path)
    rebuilt(weights, ckpt_path)  # validates the weights against the network in their metadata
    output = output or ckpt_path.with_name(f"{ckpt_path.stem}_smp.pth")
    if output.resolve() == ckpt_path.resolve():
        raise UserError(f"--output {output} is the weights file itself. Pass another file.")
    write_tensors(weights.state_dict, output)
    about, norm = weights.description, weights.description["normalisation"]
    print(f"wrote {output}. Load it with\n")
    print(f'    model = segmentation_models_pytorch.create_model("{about["arch"]}", "{about["encoder"]}",')
    print(f"        encoder_weights=None, classes={len(about['classes'])})")
    print(f'    model.load_state_dict(torch.load("{output}", weights_only=True))\n')
    print(f"Input: (RGB / 255 - {norm['mean']}) / {norm['std']}")
    return output
