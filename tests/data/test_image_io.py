"""Decoding and resizing of images and masks, and their errors."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocseg.data.image_io import ImageMask, read_image, read_mask, resize_pair
from vocseg.data.raw_reader import ImageMaskReader
from vocseg.data.splits import Split
from vocseg.data.voc import Layout
from vocseg.errors import UserError


def _palette(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
    picture.putpalette([k for k in range(256) for _ in range(3)])
    return picture


def test_invalid_mask_value_reports_first_pixel(tmp_path: Path) -> None:
    mask = np.zeros((30, 40))
    mask[12, 7] = 99
    _palette(mask).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"value 99 .1 pixels with such values, the first at x=7, y=12"):
        read_mask(tmp_path / "x.png")


def test_palette_mask_decodes_to_indices(tmp_path: Path) -> None:
    wanted = np.array([[0, 7, 17, 255], [1, 20, 4, 15]], np.uint8)
    _palette(wanted).save(tmp_path / "x.png")
    assert (read_mask(tmp_path / "x.png") == wanted).all()


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_8_bit_modes_convert_to_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (6, 4), (255, 0, 0)).convert(mode).save(tmp_path / "x.tiff")
    image = read_image(tmp_path / "x.tiff")
    assert image.shape == (4, 6, 3)
    assert mode == "L" or (image[..., 0] > 200).all()


def test_exif_orientation_applies_on_request(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.new("RGB", (6, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (4, 6, 3)
    assert read_image(tmp_path / "x.jpg", exif=True).shape == (6, 4, 3)


def test_jpeg_decodes_as_pillow(sample: Path) -> None:
    for path in sorted(sample.rglob("*.jpg"))[:6]:
        assert (read_image(path) == np.asarray(Image.open(path).convert("RGB"))).all()


@pytest.mark.parametrize("cut", [1, 2, 100, 3000])
def test_truncated_jpeg_raises(sample: Path, tmp_path: Path, cut: int) -> None:
    data = next(sample.rglob("*.jpg")).read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[:-cut])
    with pytest.raises(UserError, match="truncated"):
        read_image(tmp_path / "x.jpg")


def test_check_reports_error_and_missing_files(tmp_path: Path) -> None:
    ids = tuple(str(k) for k in range(20))
    split = Split(Layout(tmp_path), "train", ids)
    pairs = [split.paths(k) for k in range(20)]
    for image, mask in pairs:
        image.parent.mkdir(exist_ok=True)
        mask.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 4)).save(image)
        Image.new("L", (6, 4)).save(mask)
    check = ImageMaskReader(split, tmp_path / "cache", 64).check
    check(progress=False)
    Image.new("L", (4, 6)).save(pairs[13][1])
    with pytest.raises(UserError, match=r"13.png is 4x6 pixels, but its image .*13.jpg is 6x4"):
        check(progress=False)
    pairs[3][0].unlink()
    pairs[4][0].unlink()
    with pytest.raises(UserError, match=r"3.jpg .and 1 more files. is missing"):
        check(progress=False)


def test_16_bit_remedy_command_works(tmp_path: Path) -> None:
    (tmp_path / "COPIES").mkdir()
    path = tmp_path / "COPIES" / "x.png"
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(path)
    with pytest.raises(UserError) as fault:
        read_image(path)
    command = re.search(r"`python (.*?)`", fault.value.sentence)
    assert command is not None
    subprocess.run(f"{sys.executable} {command[1]}", shell=True, cwd=tmp_path, check=True)
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 255]


def _pair() -> ImageMask:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (375, 500, 3), np.uint8)
    mask = np.repeat(np.repeat(random.choice([0, 5, 20, 255], (15, 20)), 25, 0), 25, 1).astype(np.uint8)
    return ImageMask(image, mask)


@pytest.mark.parametrize("size", [64, 256, 512])
def test_resized_pair_equals_pillow(size: int) -> None:
    pair = _pair()
    image, mask = resize_pair(pair, size)
    nearest = Image.fromarray(pair.mask).resize((size, size), Image.Resampling.NEAREST)
    assert (mask == np.asarray(nearest)).all()
    bilinear = Image.fromarray(pair.image).resize((size, size), Image.Resampling.BILINEAR)
    assert np.abs(image.astype(int) - np.asarray(bilinear)).max() <= 1
