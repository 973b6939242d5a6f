"""The demo as a newcomer runs it, after set-up."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vocseg.__main__ import main

# With VOCSEG_DEMO=1 as it is, which takes four minutes. Otherwise a fifth of its epochs.
WHOLE = os.environ.get("VOCSEG_DEMO") == "1"
FLAGS, LEARNT = ("", 0.5) if WHOLE else ("--trainer.max_epochs 2", 0.1)  # background alone scores 0.04

# Stands for `.venv/bin/python`, so that torch is imported once: `-m vocseg` runs in the test's process.
STUB = """#!/bin/bash
[ "$1" = -m ] || exec python3 "$@"
printf '%s\\n' "${@:3}" > words.part && mv words.part words
exit "$(cat code)"
"""


@pytest.mark.slow
def test_demo_learns_and_prints_paths(here: Path) -> None:
    for name, text in {"scripts/setup": "#!/bin/sh\n", ".venv/bin/python": STUB}.items():
        (here / name).parent.mkdir(parents=True)
        (here / name).write_text(text)
        (here / name).chmod(0o755)
    shutil.copy(ROOT / "scripts/demo", here / "scripts/demo")
    os.mkfifo("code")
    with open("printed", "w") as printed:
        demo = subprocess.Popen(["scripts/demo", *FLAGS.split()], stdout=printed)
    while demo.poll() is None:
        time.sleep(0.01)
        if Path("words").exists():
            words = Path("words").read_text().splitlines()
            Path("words").unlink()
            code = 1
            try:
                main(words)
                code = 0
            finally:
                Path("code").write_text(str(code))
    assert demo.returncode == 0
    said = Path("printed").read_text()
    assert float(re.search(r"mean IoU +(0\.\d+)", said)[1]) >= LEARNT  # type: ignore[index]
    for path in re.findall(r"lightning_logs/\S+\.(?:pth|png|jpg)", said):
        assert Path(path).is_file(), path
    assert "tensorboard --logdir" in said
    scores = json.loads(Path("lightning_logs/test/version_0/scores.json").read_text())
    assert f"mean IoU     {scores['original_resolution']['mean_iou']:.2f} over" in said
