"""The demo, as a newcomer runs it, once it is set up."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# As a newcomer runs it, it takes four minutes; without this, training is cut to a fifth of its epochs.
WHOLE = os.environ.get("VOCSEG_DEMO") == "1"
SHORT, LEARNT = ([], 0.5) if WHOLE else (["--trainer.max_epochs", "2"], 0.1)  # background alone scores 0.04


@pytest.mark.slow
def test_the_demo_learns_and_says_where_to_look(tmp_path: Path) -> None:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("the demo uses .venv, which these tests do not run in")
    copy = tmp_path / "vocseg"  # a folder of its own, with this one's environment
    copy.mkdir()
    for name in ("vocseg", "scripts", "pyproject.toml", ".venv"):
        (copy / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["bash", "-c", 'cd scripts/.. && scripts/demo "$@"', "demo", *SHORT],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout
    assert float(re.search(r"mean IoU +(0\.\d+)", said)[1]) >= LEARNT  # type: ignore[index]
    for path in re.findall(r"lightning_logs/\S+\.(?:pth|png|jpg)", said):
        assert (copy / path).is_file(), path
    assert "tensorboard --logdir" in said
    scores = json.loads((copy / "lightning_logs/test/version_0/scores.json").read_text())
    assert f"mean IoU     {scores['original_resolution']['mean_iou']:.2f} over" in said
