"""Exported files of the session's weights."""

import shutil
from pathlib import Path

import pytest

from vocseg.__main__ import main

FLAGS = {  # of `export`, by file
    "mask.xml": ["--format", "openvino"],
    "logits.pt2": ["--format", "torch_export", "--output", "logits", "--dynamic_batch"],
    "probabilities.onnx": ["--format", "onnx", "--output", "probabilities", "--dynamic_batch"],
}


@pytest.fixture(scope="session")
def weights(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the session's weights with the configuration of the run."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("unet_voc.pth", "config.yaml"):
        shutil.copy(trained / name, folder / name)
    return folder / "unet_voc.pth"


@pytest.fixture(scope="session")
def exported(weights: Path) -> Path:
    """The folder of a file of each format."""
    for name, flags in FLAGS.items():
        main([
            *("export", "--ckpt_path", str(weights), "--output_file", str(weights.with_name(name))),
            *flags,
        ])  # fmt: skip
    return weights.parent
