"""Data sets as annotation programs export them: each trains with the command that the README shows."""

import re
import shlex
from pathlib import Path

import pytest

from tests import exports
from tests.conftest import ROOT, TINY
from vocseg.__main__ import main
from vocseg.checkpoints.weights import read_weights

README = (ROOT / "README.md").read_text().replace("\\\n", " ")
EXPORTS = {  # classes and number of val images
    "labelme_voc": (("_background_", "animal", "vehicle"), 2),
    "cvat": (exports.NAMES, 2),
    "roboflow": (exports.NAMES, 4),
    "mine": (("background", "thing"), 2),
}


def _command(root: str) -> list[str]:
    found = re.findall(rf"^python -m vocseg (fit --data\.root {root} .*?)(?:  #.*)?$", README, re.MULTILINE)
    assert len(found) == 1
    return shlex.split(found[0])


@pytest.mark.parametrize("root", EXPORTS)
def test_export_trains_with_readme_command(root: str, here: Path) -> None:
    names, val = EXPORTS[root]
    exports.MAKERS[root](Path(root))
    small = ["--model.encoder", TINY, "--model.encoder_weights", "null", "--data.image_size", "64"]
    main([*_command(root), *small, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"])
    run = here / "lightning_logs" / "fit" / "version_0"
    about = read_weights(run / "unet_voc.pth").description
    assert tuple(about["classes"]) == names
    assert about["score"]["protocol"]["images"] == val
    lists = {path.stem: path.read_text().splitlines() for path in (run / "split").glob("*.txt")}
    if root == "roboflow":
        assert lists == {}
    else:  # drawn by chance, and so written down
        assert (len(lists["train"]), len(lists["val"])) == (12 - val, val)


@pytest.mark.parametrize("root", EXPORTS)
def test_audit_of_export_finds_no_fault(root: str, here: Path) -> None:
    exports.MAKERS[root](Path(root))
    words = _command(root)
    names = ("classes", "image_folder", "mask_folder", "mask_suffix", "mask_values")
    given = {flag: words[words.index(f"--data.{flag}") + 1] for flag in names if f"--data.{flag}" in words}
    flags = [f"--{flag}={value}" for flag, value in given.items()]
    assert main(["audit", root, *flags, "--progress", "false"]) is None  # else it exits with 1
