"""What a training step leaves for those who watch it."""

from pathlib import Path

import pytest

from tests.conftest import tiny
from vocseg.__main__ import main


@pytest.mark.parametrize(("every", "wanted"), [("0", []), ("1", [0, 1, 2, 3, 4]), ("3", [2]), ("50", [])])
def test_the_loss_of_a_step_is_written_down_as_often_as_asked_for(
    sample: Path, here: Path, every: str, wanted: list[int]
) -> None:
    main(["fit", *tiny(sample), "--trainer.log_every_n_steps", every])
    names, *rows = [
        line.split(",")
        for line in (here / "lightning_logs/fit/version_0/metrics.csv").read_text().splitlines()
    ]
    place = names.index("loss/train_step") if "loss/train_step" in names else None
    written = [int(row[names.index("step")]) for row in rows if place is not None and row[place]]
    assert written == wanted
