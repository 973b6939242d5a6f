"""Submission of an exported file."""

import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from vocseg.__main__ import main


def test_submitted_masks_of_export_equal_those_of_its_weights(
    exported: Path, weights: Path, sample: Path, here: Path
) -> None:
    for name, path in (("a", weights), ("b", exported / "probabilities.onnx")):
        words = ["--ckpt_path", str(path), "--output", f"{name}.tgz"]
        main(["submit", str(sample), "--split", "val", *words])
        with tarfile.open(f"{name}.tgz") as tar:
            tar.extractall(name, filter="data")
    first, second = (sorted(Path(name).rglob("*.png")) for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in second]
    for one, two in zip(first, second, strict=True):
        assert (np.asarray(Image.open(one)) == np.asarray(Image.open(two))).mean() > 0.999
