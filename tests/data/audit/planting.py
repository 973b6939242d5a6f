"""Faults to plant into a sample."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vocseg.constants import PALETTE
from vocseg.data.audit.findings import Finding
from vocseg.data.audit.report import Audit

Plant = Callable[[Path], str]  # damages a file of a `VOC2012` folder, and returns its name within
TRAIN, VAL = "2007_000001", "2008_000001"
LISTS, IMAGES, MASKS = "ImageSets/Segmentation", "JPEGImages", "SegmentationClass"
IMAGE, MASK = f"{IMAGES}/{TRAIN}.jpg", f"{MASKS}/{TRAIN}.png"


def found(result: Audit) -> list[Finding]:
    """Findings of an audit, without that of absent classes, which so small a set always has."""
    return [finding for finding in result.findings if finding.kind != "list-classes"]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def save_mask(path: Path, mask: np.ndarray, palette: np.ndarray | None = None) -> None:
    picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
    picture.putpalette(np.asarray(PALETTE if palette is None else palette, np.uint8).ravel().tolist())
    picture.save(path)


def in_list(split: str, change: Callable[[bytes], bytes]) -> Plant:
    def plant(voc: Path) -> str:
        path = voc / LISTS / f"{split}.txt"
        path.write_bytes(change(path.read_bytes()))
        return f"{LISTS}/{split}.txt"

    return plant


def in_bytes(file: str, change: Callable[[bytes], bytes]) -> Plant:
    def plant(voc: Path) -> str:
        (voc / file).write_bytes(change((voc / file).read_bytes()))
        return file

    return plant


def as_picture(file: str, change: Callable[[Image.Image], Image.Image], **options: object) -> Plant:
    """Change what a file shows; `options` go to PIL's `save`."""

    def plant(voc: Path) -> str:
        with Image.open(voc / file) as picture:
            picture.load()
        kind = options.pop("format", "JPEG" if file.endswith("jpg") else "PNG")
        change(picture).save(voc / file, kind, **options)
        options["format"] = kind
        return file

    return plant


def in_mask(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    def plant(voc: Path) -> str:
        save_mask(voc / MASK, change(read(voc / MASK)))
        return MASK

    return plant


def stray(name: str, like: str) -> Plant:
    """A copy of a file."""

    def plant(voc: Path) -> str:
        (voc / name).write_bytes((voc / like).read_bytes())
        return name

    return plant


def replaced(file: str, make: Callable[[Path], object]) -> Plant:
    """Something that is no plain file in the place of one."""

    def plant(voc: Path) -> str:
        (voc / file).unlink()
        make(voc / file)
        return file

    return plant


def removed(file: str) -> Plant:
    def plant(voc: Path) -> str:
        shutil.rmtree(voc / file) if (voc / file).is_dir() else (voc / file).unlink()
        return file

    return plant


def pair_over(
    source: str, target: str, change: Callable[[Image.Image], Image.Image], **options: object
) -> Plant:
    """Put one pair, altered, in the place of another; the mask follows with nearest pixels."""

    def plant(voc: Path) -> str:
        with Image.open(voc / IMAGES / f"{source}.jpg") as picture:
            altered = change(picture.convert("RGB"))
        altered.save(voc / IMAGES / f"{target}.jpg", quality=options.get("quality", 90))
        mask = Image.fromarray(read(voc / MASKS / f"{source}.png")).resize(
            altered.size, Image.Resampling.NEAREST
        )
        save_mask(voc / MASKS / f"{target}.png", np.asarray(mask))
        return f"{IMAGES}/{target}.jpg"

    return plant


def copied(source: str, target: str) -> Plant:
    """Put one pair, byte for byte, in the place of another."""

    def plant(voc: Path) -> str:
        for folder, suffix in ((IMAGES, ".jpg"), (MASKS, ".png")):
            shutil.copy(voc / folder / f"{source}{suffix}", voc / folder / f"{target}{suffix}")
        return f"{IMAGES}/{target}.jpg"

    return plant


def rotated(orientation: int, turn_mask: bool) -> Plant:
    def plant(voc: Path) -> str:
        exif = Image.Exif()
        exif[274] = orientation
        if turn_mask:
            in_mask(np.rot90)(voc)
        return as_picture(IMAGE, lambda picture: picture, exif=exif)(voc)

    return plant


def rendering(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: picture.convert("RGB").convert(mode)


def reordered(picture: Image.Image) -> Image.Image:
    """The same colours at other indices, as programs do that keep only the colours in use."""
    used = sorted(set(picture.tobytes()))
    return picture.remap_palette(used)


def with_hole(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes(4096) + data[half + 4096 :]


def with_foreign_marker(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + b"\xff\x13" + data[half + 2 :]


def with_wrong_checksum(data: bytes) -> bytes:
    end = data.index(b"IEND") - 8  # the last four bytes of the part before
    return data[:end] + bytes(byte ^ 255 for byte in data[end : end + 4]) + data[end + 4 :]
