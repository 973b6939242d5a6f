"""Findings of planted faults."""

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.data.audit.planting import (
    IMAGE,
    IMAGES,
    LISTS,
    MASK,
    MASKS,
    TRAIN,
    VAL,
    Plant,
    as_picture,
    copied,
    found,
    in_bytes,
    in_list,
    in_mask,
    pair_over,
    read,
    removed,
    rendering,
    reordered,
    replaced,
    rotated,
    save_mask,
    stray,
    with_foreign_marker,
    with_hole,
    with_wrong_checksum,
)
from vocseg.data.audit.command import audit
from vocseg.data.audit.findings import KINDS, NOTES


def _bomb(voc: Path) -> str:
    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    (voc / MASK).write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IEND", b""))
    return MASK


def _one_wrong(mask: np.ndarray) -> np.ndarray:
    mask = mask.copy()
    mask[12, 7] = 21
    return mask


def _one_wrong_colour(picture: Image.Image) -> Image.Image:
    coloured = picture.convert("RGB")
    coloured.putpixel((7, 12), (1, 2, 3))
    return coloured


def _transparent(picture: Image.Image) -> Image.Image:
    clear = picture.convert("RGBA")
    clear.putpixel((7, 12), (0, 0, 0, 9))
    return clear


def _two_frames(data: bytes) -> bytes:
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _unlisted(voc: Path) -> str:
    for folder, suffix in ((IMAGES, "jpg"), (MASKS, "png")):
        shutil.copy(voc / folder / f"{TRAIN}.{suffix}", voc / folder / f"2009_000001.{suffix}")
    return ""


def _same(picture: Image.Image) -> Image.Image:
    return picture


def _in_train_masks(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    def plant(voc: Path) -> str:
        for id in (voc / LISTS / "train.txt").read_text().split():
            save_mask(voc / MASKS / f"{id}.png", change(read(voc / MASKS / f"{id}.png")))
        return f"{LISTS}/train.txt"

    return plant


def _half_void(mask: np.ndarray) -> np.ndarray:
    mask = mask.copy()
    mask[::2] = 255
    return mask


PLANTED: dict[str, tuple[str, Plant]] = {
    "no val list": ("list-missing", removed(f"{LISTS}/val.txt")),
    "an empty list": ("list-invalid", in_list("train", lambda data: b"\n")),
    "UTF-16": ("list-invalid", in_list("train", lambda data: data.decode().encode("utf-16"))),
    "a way out": ("list-invalid", in_list("train", lambda data: b"../../" + data)),
    "an id of 5,000 characters": ("list-invalid", in_list("train", lambda data: data + b"x" * 5000 + b"\n")),
    "an id twice": ("list-invalid", in_list("train", lambda data: data + data[:12])),
    "a list that is a pipe": ("list-invalid", replaced(f"{LISTS}/trainval.txt", os.mkfifo)),
    "a list too large to be one": (
        "list-invalid",
        replaced(f"{LISTS}/trainval.txt", lambda path: (path.touch(), os.truncate(path, 300_000_000))),
    ),
    "val in train": ("list-overlap", in_list("train", lambda data: data + VAL.encode() + b"\n")),
    "masks of 0 and 255": ("list-one-class", _in_train_masks(lambda mask: np.where(mask > 0, 255, 0))),
    "no mask folder": ("folder-missing", removed(MASKS)),
    "no image folder": ("folder-missing", removed(IMAGES)),
    "no image": ("image-missing", removed(IMAGE)),
    "no mask": ("mask-missing", removed(MASK)),
    "two images of one id": ("image-twice", stray(f"{IMAGES}/{TRAIN}.png", IMAGE)),
    "an image that is a pipe": ("unreadable", replaced(IMAGE, os.mkfifo)),
    "an image without end": ("unreadable", replaced(IMAGE, lambda path: path.symlink_to("/dev/zero"))),
    "an image that links to itself": ("unreadable", replaced(IMAGE, lambda path: path.symlink_to(path))),
    "an image that links to nothing": ("unreadable", replaced(IMAGE, lambda path: path.symlink_to("x"))),
    "an image of 0 bytes": ("unreadable", in_bytes(IMAGE, lambda data: b"")),
    "a web page": ("unreadable", in_bytes(IMAGE, lambda data: b"<!DOCTYPE html><html>404</html>")),
    "half an image": ("unreadable", in_bytes(IMAGE, lambda data: data[: len(data) // 2])),
    "half a mask": ("unreadable", in_bytes(MASK, lambda data: data[: len(data) // 2])),
    "an animation": ("unreadable", in_bytes(IMAGE, _two_frames)),
    "a bomb": ("unreadable", _bomb),
    "16 bit grey": ("unreadable", as_picture(IMAGE, lambda p: Image.new("I;16", p.size, 9), format="PNG")),
    "a JPEG mask": ("unreadable", as_picture(MASK, rendering("RGB"), format="JPEG")),
    "a one-bit mask": ("unreadable", as_picture(MASK, rendering("1"))),
    "a transparent mask": ("unreadable", as_picture(MASK, _transparent)),
    "an image without its last bytes": ("damaged", in_bytes(IMAGE, lambda data: data[:-2])),
    "a mask without its last bytes": ("damaged", in_bytes(MASK, lambda data: data[:-12])),
    "a hole": ("damaged", in_bytes(IMAGE, with_hole)),
    "a marker of no JPEG": ("damaged", in_bytes(IMAGE, with_foreign_marker)),
    "a wrong checksum": ("damaged", in_bytes(MASK, with_wrong_checksum)),
    "turned, mask as stored": ("image-rotated", rotated(6, turn_mask=False)),
    "turned, mask as shown": ("image-rotated", rotated(8, turn_mask=True)),
    "a copy": ("duplicate", copied(TRAIN, VAL)),
    "half size": ("duplicate", pair_over(TRAIN, VAL, lambda p: p.resize((p.width // 2, p.height // 2)))),
    "encoded again": ("duplicate", pair_over(TRAIN, VAL, _same, quality=40)),
    "mirrored": ("duplicate", pair_over(TRAIN, VAL, ImageOps.mirror)),
    "a palette in another order": ("mask-palette", as_picture(MASK, reordered)),
    "a grey mask": ("mask-values", as_picture(MASK, rendering("L"))),
    "a wrong value": ("mask-values", in_mask(_one_wrong)),
    "a colour of no class": ("mask-values", as_picture(MASK, _one_wrong_colour)),
    "a smaller mask": ("size-mismatch", in_mask(lambda mask: mask[:-1])),
}
VALID: dict[str, Plant] = {
    "byte order mark, CRLF and blank lines": in_list(
        "train", lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b" \r\n\r\n")
    ),
    "an RGB mask": as_picture(MASK, rendering("RGB")),
    "an RGBA mask": as_picture(MASK, rendering("RGBA")),
    "a grey image": as_picture(IMAGE, lambda picture: picture.convert("L")),
    "a PNG called jpg": as_picture(IMAGE, _same, format="PNG"),
    "bytes behind an image": in_bytes(IMAGE, lambda data: data + b"<!-- -->"),
    "an image and a mask in no list": _unlisted,
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_the_only_finding(copy: Path, name: str) -> None:
    kind, plant = PLANTED[name]
    file = plant(copy)
    result = audit(copy, progress=False)
    assert {(finding.kind, finding.file) for finding in found(result)} == {(kind, file)}


def test_every_kind_of_fault_is_planted() -> None:
    assert {kind for kind, _ in PLANTED.values()} == set(KINDS) - NOTES


@pytest.mark.parametrize("name", VALID)
def test_what_training_accepts_is_no_fault(copy: Path, name: str) -> None:
    VALID[name](copy)
    assert found(audit(copy, progress=False)) == []


def test_many_ignored_pixels_give_a_note(copy: Path) -> None:
    _in_train_masks(_half_void)(copy)
    result = audit(copy, progress=False)
    assert {(finding.kind, finding.level) for finding in result.findings} == {("list-classes", "note")}
    assert any("255, which is ignored" in finding.text for finding in result.findings)
