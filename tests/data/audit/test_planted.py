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
from PIL import Image, ImageEnhance, ImageOps

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
    renamed,
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
from vocseg.data.audit.findings import KINDS


def _trainaug(voc: Path) -> str:
    """Lists an image to score on; its masks are there."""
    shutil.copytree(voc / MASKS, voc / f"{MASKS}Aug")
    (voc / LISTS / "trainaug.txt").write_text(f"{TRAIN}\n{VAL}\n")
    return f"{LISTS}/trainaug.txt"


def _to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _bomb(voc: Path) -> str:
    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    (voc / MASK).write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IEND", b""))
    return MASK


def _small_pair(voc: Path) -> str:
    for file in (MASK, IMAGE):
        as_picture(file, lambda picture: picture.crop((200, 150, 220, 166)))(voc)
    with Image.open(voc / MASK) as picture:
        picture.load()
    picture.putpixel((0, 0), 1)  # something besides background
    picture.putpixel((1, 0), 0)
    picture.save(voc / MASK)
    return IMAGE


def _case(voc: Path) -> str:
    for name in ("extra", "Extra"):
        shutil.copy(voc / IMAGE, voc / IMAGES / f"{name}.jpg")
    return f"{IMAGES}/extra.jpg"


def _sub_folder(voc: Path) -> str:
    (voc / IMAGES / "more").mkdir()
    return f"{IMAGES}/more"


def _spread(mask: np.ndarray) -> np.ndarray:
    """What a resize with interpolation leaves."""
    picture = Image.fromarray(mask).resize((mask.shape[1] // 2, mask.shape[0] // 2), Image.Resampling.BICUBIC)
    return np.asarray(picture.resize(mask.shape[::-1], Image.Resampling.BICUBIC))


def _one_wrong(mask: np.ndarray) -> np.ndarray:
    mask = mask.copy()
    mask[12, 7] = 21
    return mask


def _two_frames(kind: str) -> Plant:
    def change(data: bytes) -> bytes:
        frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
        return file.getvalue()

    return in_bytes(MASK if kind == "PNG" else IMAGE, change)


def _sixteen_bit_rgb(data: bytes) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", np.full((40, 60, 3), 40000, np.uint16))[1])


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
    "an empty list": ("list-empty", in_list("train", lambda data: b"\n")),
    "UTF-16": ("list-encoding", in_list("train", lambda data: data.decode().encode("utf-16"))),
    "a byte order mark": ("list-byte-order-mark", in_list("train", lambda data: b"\xef\xbb\xbf" + data)),
    "CRLF": ("list-line-ends", in_list("val", lambda data: data.replace(b"\n", b"\r\n"))),
    "a blank line": ("list-blank-line", in_list("train", lambda data: data.replace(b"\n", b"\n\n", 1))),
    "a blank line at the end": ("list-blank-line", in_list("train", lambda data: data + b"\n")),
    "a space at the end": ("list-spaces", in_list("train", lambda data: data.replace(b"\n", b" \n", 1))),
    "a tab in front": ("list-spaces", in_list("train", lambda data: b"\t" + data)),
    "a path": ("list-odd-id", in_list("train", lambda data: b"JPEGImages/" + data)),
    "a way out": ("list-odd-id", in_list("train", lambda data: b"../../" + data)),
    "an ending": ("list-odd-id", in_list("train", lambda data: data.replace(b"\n", b".jpg\n", 1))),
    "a zero byte": ("list-odd-id", in_list("train", lambda data: data.replace(b"_", b"\0", 1))),
    "an id of 5,000 characters": ("list-odd-id", in_list("train", lambda data: data + b"x" * 5000 + b"\n")),
    "an id of 201 bytes": ("list-odd-id", in_list("train", lambda data: data + b"x" * 201 + b"\n")),
    "a list that is a pipe": ("list-unreadable", replaced(f"{LISTS}/trainval.txt", os.mkfifo)),
    "a list that is a folder": ("list-unreadable", replaced(f"{LISTS}/trainval.txt", Path.mkdir)),
    "a list without end": ("list-unreadable", replaced(f"{LISTS}/trainval.txt", _to_zero)),
    "a list too large to be one": (
        "list-unreadable",
        replaced(f"{LISTS}/trainval.txt", lambda path: (path.touch(), os.truncate(path, 300_000_000))),
    ),
    "an image that is a pipe": ("not-a-file", replaced(IMAGE, os.mkfifo)),
    "an image without end": ("not-a-file", replaced(IMAGE, _to_zero)),
    "an image that links to itself": ("not-a-file", replaced(IMAGE, lambda path: path.symlink_to(path))),
    "an image that links to nothing": ("not-a-file", replaced(IMAGE, lambda path: path.symlink_to("x"))),
    "an image that is a folder": ("sub-folder", replaced(IMAGE, Path.mkdir)),
    "a mask that is a pipe": ("not-a-file", replaced(MASK, os.mkfifo)),
    "an id twice": ("list-duplicate", in_list("train", lambda data: data + data[:12])),
    "val in train": ("list-overlap", in_list("train", lambda data: data + VAL.encode() + b"\n")),
    "val in trainaug": ("list-overlap", _trainaug),
    "trainval lacks one": ("list-trainval", in_list("trainval", lambda data: data[12:])),
    "no mask folder": ("folder-missing", removed(MASKS)),
    "no image folder": ("folder-missing", removed(IMAGES)),
    "no image": ("image-missing", removed(IMAGE)),
    "no mask": ("mask-missing", removed(MASK)),
    "a mask too many": ("mask-unlisted", stray(f"{MASKS}/2009_000001.png", MASK)),
    "a text among images": ("wrong-ending", stray(f"{IMAGES}/2009_000001.txt", IMAGE)),
    "two images of one id": ("image-twice", stray(f"{IMAGES}/{TRAIN}.png", IMAGE)),
    "masks of 0 and 255": ("list-one-class", _in_train_masks(lambda mask: np.where(mask > 0, 255, 0))),
    "half of all void": ("list-void", _in_train_masks(_half_void)),
    "PNG": ("wrong-ending", renamed(MASK, MASK.replace("png", "PNG"))),
    "an image among masks": ("wrong-ending", stray(f"{MASKS}/2009_000001.jpg", IMAGE)),
    "Thumbs.db": ("junk-file", stray(f"{IMAGES}/Thumbs.db")),
    ".DS_Store": ("junk-file", stray(f"{MASKS}/.DS_Store")),
    "a resource fork": ("junk-file", stray(f"{IMAGES}/._{TRAIN}.jpg")),
    "a download in parts": ("junk-file", stray(f"{IMAGES}/{TRAIN}.jpg.part")),
    "an editor's copy": ("junk-file", stray(f"{MASKS}/{TRAIN}.png~")),
    "a browser's copy": ("second-copy", stray(f"{IMAGES}/{TRAIN} (1).jpg", IMAGE)),
    "a copied mask": ("second-copy", stray(f"{MASKS}/{TRAIN} copy.png", MASK)),
    "a folder": ("sub-folder", _sub_folder),
    "case": ("file-case", _case),
    "an image of 0 bytes": ("empty-file", in_bytes(IMAGE, lambda data: b"")),
    "a mask of 0 bytes": ("empty-file", in_bytes(MASK, lambda data: b"")),
    "a web page": ("unreadable", in_bytes(IMAGE, lambda data: b"<!DOCTYPE html><html>404</html>")),
    "noise": ("unreadable", in_bytes(MASK, lambda data: np.random.default_rng(0).bytes(500))),
    "half an image": ("truncated", in_bytes(IMAGE, lambda data: data[: len(data) // 2])),
    "half a mask": ("truncated", in_bytes(MASK, lambda data: data[: len(data) // 2])),
    "an image without its last bytes": ("truncated", in_bytes(IMAGE, lambda data: data[:-2])),
    "a mask without its last bytes": ("truncated", in_bytes(MASK, lambda data: data[:-12])),
    "a hole": ("damaged", in_bytes(IMAGE, with_hole)),
    "a marker of no JPEG": ("damaged", in_bytes(IMAGE, with_foreign_marker)),
    "a wrong checksum": ("damaged", in_bytes(MASK, with_wrong_checksum)),
    "bytes behind an image": ("trailing-bytes", in_bytes(IMAGE, lambda data: data + b"<!-- -->")),
    "bytes behind a mask": ("trailing-bytes", in_bytes(MASK, lambda data: data + bytes(100))),
    "a PNG called jpg": ("wrong-format", as_picture(IMAGE, _same, format="PNG")),
    "a BMP called png": ("wrong-format", as_picture(MASK, _same, format="BMP")),
    "a GIF": ("animated", _two_frames("GIF")),
    "a WebP": ("animated", _two_frames("WEBP")),
    "two JPEGs in one": ("animated", _two_frames("MPO")),
    "an animated PNG": ("animated", _two_frames("PNG")),
    "a bomb": ("too-large", _bomb),
    "16 bit grey": ("sixteen-bit", as_picture(IMAGE, lambda p: Image.new("I;16", p.size, 9), format="PNG")),
    "16 bit RGB": ("sixteen-bit", in_bytes(IMAGE, _sixteen_bit_rgb)),
    "16 bit mask": ("sixteen-bit", as_picture(MASK, lambda p: Image.new("I;16", p.size, 9))),
    "turned, mask as stored": ("image-rotated", rotated(6, turn_mask=False)),
    "turned, mask as shown": ("image-rotated", rotated(8, turn_mask=True)),
    "upside down": ("image-rotated", rotated(3, turn_mask=False)),
    "CMYK": ("image-cmyk", as_picture(IMAGE, lambda picture: picture.convert("CMYK"))),
    "grey": ("image-greyscale", as_picture(IMAGE, lambda picture: picture.convert("L"))),
    "tiny": ("image-tiny", _small_pair),
    "blank": ("image-blank", as_picture(IMAGE, lambda picture: Image.new("RGB", picture.size, "navy"))),
    "an image twice in a list": ("copy", copied(TRAIN, "2007_000002")),
    "an image in both lists": ("copy-across", copied(TRAIN, VAL)),
    "half size": (
        "near-copy-across",
        pair_over(TRAIN, VAL, lambda p: p.resize((p.width // 2, p.height // 2))),
    ),
    "encoded again": ("near-copy-across", pair_over(TRAIN, VAL, _same, quality=40)),
    "brighter": (
        "near-copy-across",
        pair_over(TRAIN, VAL, lambda p: ImageEnhance.Brightness(p).enhance(1.15)),
    ),
    "mirrored": ("near-copy-across", pair_over(TRAIN, VAL, ImageOps.mirror)),
    "an RGB mask": ("mask-rgb", as_picture(MASK, rendering("RGB"))),
    "an RGBA mask": ("mask-alpha", as_picture(MASK, rendering("RGBA"))),
    "a grey mask with alpha": ("mask-alpha", as_picture(MASK, rendering("LA"))),
    "a grey mask": ("mask-grey", as_picture(MASK, rendering("L"))),
    "a palette in another order": ("mask-palette", as_picture(MASK, reordered)),
    "a quantised mask": ("mask-palette", as_picture(MASK, lambda p: p.convert("RGB").quantize(32))),
    "a JPEG mask": ("mask-jpeg", as_picture(MASK, rendering("RGB"), format="JPEG")),
    "a one-bit mask": ("mask-one-bit", as_picture(MASK, rendering("1"))),
    "a wrong value": ("mask-values", in_mask(_one_wrong)),
    "interpolated": ("mask-values", in_mask(_spread)),
    "all void": ("mask-void", in_mask(lambda mask: np.full_like(mask, 255))),
    "all background": ("mask-background", in_mask(np.zeros_like)),
    "a smaller mask": ("size-mismatch", in_mask(lambda mask: mask[:-1])),
    "a turned mask": ("size-mismatch", in_mask(np.rot90)),
}
ELSEWHERE = {"image-palette", "image-alpha", "image-mode", "mask-mode"}  # no JPEG, or no PNG, can be so
ELSEWHERE |= {"mask-colour", "list-absent-class"}  # of a user's own classes; of any set as small as this one


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_the_only_finding(copy: Path, name: str) -> None:
    kind, plant = PLANTED[name]
    file = plant(copy)
    result = audit(copy, progress=False)
    assert {(finding.kind, finding.file) for finding in found(result)} == {(kind, file)}


def test_every_kind_is_planted() -> None:
    assert {kind for kind, _ in PLANTED.values()} | ELSEWHERE == set(KINDS)


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "image-palette"), ("RGBA", "image-alpha"), ("LA", "image-mode")]
)
def test_png_only_faults_are_found(copy: Path, mode: str, kind: str) -> None:
    (copy / "png").mkdir()
    for path in (copy / IMAGES).iterdir():
        with Image.open(path) as picture:
            picture.save(copy / "png" / f"{path.stem}.png", compress_level=0)
    assert found(audit(copy, image_folder="png", image_suffix=".png", progress=False)) == []
    as_picture(f"png/{TRAIN}.png", lambda picture: picture.convert(mode))(copy)
    result = audit(copy, image_folder="png", image_suffix=".png", progress=False)
    assert {(finding.kind, finding.file) for finding in found(result)} == {(kind, f"png/{TRAIN}.png")}


def test_cmyk_tiff_mask_has_two_findings(copy: Path) -> None:
    as_picture(MASK, rendering("CMYK"), format="TIFF")(copy)
    kinds = {finding.kind for finding in audit(copy, progress=False).findings if finding.file == MASK}
    assert kinds == {"wrong-format", "mask-mode"}
