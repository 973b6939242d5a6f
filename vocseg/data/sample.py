"""A synthetic set in the exact layout of VOC 2012: for the demo, the tests and the README.

Every image shows one to four objects of the twenty classes, at any scale, position and angle, some behind
others, on a cluttered ground. The masks are palette PNGs with a void border round each object, as in VOC.
"""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.data.progress import follow
from vocseg.data.scene import draw_scene
from vocseg.data.writing import save_mask
from vocseg.errors import UserError, shown
from vocseg.voc import find, image_path, mask_path, split_list

Bytes = npt.NDArray[np.uint8]

_MARKER = "sample.json"
_ROOT = Path("data/sample")  # which the recipe `demo` names


def write_sample(
    root: Path = _ROOT, train: int = 320, val: int = 80, seed: int = 0, progress: bool = True
) -> Path:
    """Write a synthetic data set in VOC's layout, the same bytes for the same seed.

    Args:
        root: The folder to hold `VOCdevkit/VOC2012`; written whole or not at all.
        train: Number of training images.
        val: Number of validation images.
        seed: Any whole number from 0.
        progress: Show a progress bar.

    Returns:
        The `VOC2012` folder.

    Raises:
        UserError: If the counts or the seed make no sense, or the folder holds another set.
    """
    if train < 1 or val < 1 or seed < 0:
        raise UserError(
            f"a sample needs --train and --val from 1 and --seed from 0, not {train}, {val} and {seed}"
        )
    settings = {"made_by": "vocseg sample", "train": train, "val": val, "seed": seed}
    voc = root / "VOCdevkit" / "VOC2012"
    if _is_there(voc, settings):
        print(f"the sample is there already: {voc}")
        return voc
    if root.exists() and not root.is_dir():
        raise UserError(f"--root {root} is a file: name a folder")
    part = root / "VOCdevkit" / ".VOC2012.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write_all(part, {"train": train, "val": val}, seed, progress)
        (part / _MARKER).write_text(json.dumps(settings) + "\n")
        part.rename(voc)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"wrote {train} train and {val} val images with masks to {voc}")
    own = "" if root == _ROOT else f" --data.root {shlex.quote(str(root))}"
    print(f"next     python -m vocseg fit --config demo{own}")
    return voc


def _is_there(voc: Path, settings: dict[str, object]) -> bool:
    """Whether this very sample stands in the folder; anything else in its place is refused."""
    if not voc.exists() and find(voc.parent.parent) is None:
        return False
    found = _settings(voc / _MARKER)
    if found != settings:
        raise UserError(f"{voc.parent.parent} holds {shown(found)} already: name another folder with --root")
    return True


def _settings(marker: Path) -> object:
    """Those of the sample that stands there, or what stands there instead."""
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "a set that is not a sample"


def _write_all(voc: Path, counts: dict[str, int], seed: int, progress: bool) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    ids: dict[str, list[str]] = {"train": [], "val": []}
    for number, split in enumerate(counts):
        for k in follow(range(counts[split]), f"drawing {split}", counts[split], progress):
            id = f"{2007 + number}_{k + 1:06d}"
            image, mask = draw_scene(np.random.default_rng([seed, number, k]), _classes_of(seed, number, k))
            Image.fromarray(image).save(image_path(voc, id), quality=90)
            save_mask(mask, mask_path(voc, id, split))
            ids[split].append(id)
    ids["trainval"] = sorted(ids["train"] + ids["val"])
    for split, names in ids.items():
        split_list(voc, split).write_text("\n".join(names) + "\n")


def _classes_of(seed: int, split: int, k: int) -> list[int]:
    """One to four labels for image k: dealt from shuffled decks, so that no class is rare."""
    dealt = sum(1 + j % 4 for j in range(k))
    count = 1 + k % 4
    decks = range(dealt // 20, (dealt + count - 1) // 20 + 1)
    cards = np.concatenate([np.random.default_rng([seed, split, deck, 7]).permutation(20) for deck in decks])
    start = dealt - decks[0] * 20
    return [int(card) + 1 for card in cards[start : start + count]]
