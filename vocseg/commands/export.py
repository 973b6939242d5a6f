"""`export`: weights for use outside this project."""

from pathlib import Path
from typing import Literal

from vocseg.checkpoints.weights import read_weights, rebuilt
from vocseg.errors import UserError
from vocseg.utils.safe_load import write_tensors


def export(ckpt_path: Path, format: Literal["pth"] = "pth", output: Path | None = None) -> Path:
    """Write the bare state dict of the smp model.

    Args:
        ckpt_path: A run's `unet_voc.pth` or `.ckpt`.
        format: `pth`: a state dict for `segmentation_models_pytorch`.
        output: The file to write; null: beside the weights, with `_smp` in its name.

    Returns:
        The file written.

    Raises:
        UserError: If the weights cannot be read, are not of the network that they name, or would be replaced.
    """
    weights = read_weights(ckpt_path)
    rebuilt(weights, ckpt_path)  # refuses a file that is not of the network that it names
    output = output or ckpt_path.with_name(f"{ckpt_path.stem}_smp.pth")
    if output.resolve() == ckpt_path.resolve():
        raise UserError(f"--output {output} is the file of weights itself: name another")
    write_tensors(weights.state_dict, output)
    about, norm = weights.description, weights.description["normalisation"]
    print(f"wrote {output}; load it with\n")
    print(f'    model = segmentation_models_pytorch.create_model("{about["arch"]}", "{about["encoder"]}",')
    print(f"        encoder_weights=None, classes={len(about['classes'])})")
    print(f'    model.load_state_dict(torch.load("{output}", weights_only=True))\n')
    print(f"and feed it (RGB / 255 - {norm['mean']}) / {norm['std']}")
    return output
