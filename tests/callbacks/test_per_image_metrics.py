"""What scoring keeps of an image: its matrices, and nothing that grows with its pixels."""

from pathlib import Path

import pytest
import torch

from tests.forks import run
from tests.metrics.population import PROTOCOL
from vocseg.callbacks.per_image_metrics import PerImageAccumulator
from vocseg.constants import CLASSES
from vocseg.data.synthetic import write_sample

KINDS = ("original", "band", "ceiling")
IDS = tuple("abcdef")


def test_per_image_matrices_are_stored_by_index_without_fillers() -> None:
    counts = PerImageAccumulator(("a", "b"), 6, 21)
    matrices = torch.arange(3).view(3, 1, 1).expand(3, 21, 21)
    ones = torch.ones(3, 21, 21, dtype=torch.int64)
    counts.put(torch.tensor([4, -1, 1]), {"a": matrices + 1, "b": ones})
    counts.fetch()
    found = counts.scores("a", PROTOCOL, CLASSES, IDS, band="b")
    assert found.ids == ("b", "e")
    assert found.matrices[:, 0, 0].tolist() == [3, 1]
    assert found.band is not None
    assert found.band.sum() == 2 * 441


@pytest.mark.slow
def test_memory_does_not_grow_with_number_of_images(trained: Path, tmp_path: Path) -> None:
    """Logits of one image at its own size are 15 MB, so that keeping any of an image would show."""
    code = (
        "import resource, sys; from vocseg.__main__ import main; main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    write_sample(tmp_path / "sample", train=1, val=32, progress=False)
    peaks = []
    for images in ("8", "32"):
        words = ["--ckpt_path", str(trained / "unet_voc.pth"), "--data.root", str(tmp_path / "sample")]
        words += ["--data.max_val_samples", images, "--trainer.accelerator", "cpu"]
        done = run(["test", *words, "--trainer.enable_progress_bar", "false"], tmp_path, code)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 24 * 2  # megabytes; 24 images of 0.7 MB decoded, 15 MB upsampled
