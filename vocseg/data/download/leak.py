"""Proof that no validation image is trained on, under its own name or another."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from vocseg import voc
from vocseg.data.progress import follow
from vocseg.data.reading import read_image
from vocseg.errors import UserError


class Content(NamedTuple):
    """What an image shows: a digest of its decoded pixels and their shape, and its size."""

    digest: bytes
    height: int
    width: int


def contents(folder: Path, ids: Sequence[str]) -> dict[str, Content]:
    """Decode images with all cores.

    Raises:
        UserError: If one is missing or damaged.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = pool.map(lambda id: _content(voc.image_path(folder, id)), ids)
        try:
            return dict(zip(ids, follow(found, "comparing images", len(ids)), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def check_leak(shown: dict[str, Content], training: Sequence[str], validation: Sequence[str]) -> None:
    """Compare two lists by id and by decoded pixels.

    Args:
        shown: What the images of both show.
        training: Ids of one list.
        validation: Ids of the other.

    Raises:
        UserError: If they share an image.
    """
    held_out = set(validation)
    owners = {shown[id].digest: id for id in validation}
    for id in training:
        if id in held_out:
            raise UserError(f"the image {id} is to be trained on, but is on the validation list: remove it")
        twin = owners.get(shown[id].digest)
        if twin is not None:
            raise UserError(
                f"the image {id}, which is to be trained on, is the validation image {twin} under another "
                "name: restore it from the official archive"
            )


def _content(path: Path) -> Content:
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    shape = f"{height}x{width}:".encode()  # other shapes may have the same bytes
    return Content(hashlib.sha256(shape + pixels.tobytes()).digest(), height, width)
