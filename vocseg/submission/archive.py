"""Tar archive of a submission.

Source: the VOC 2012 development kit, section on the submission of results.
"""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocseg.data.mask_png import save_mask
from vocseg.errors import UserError

Competition = Literal[5, 6]
SERVER = "http://host.robots.ox.ac.uk:8080/"
TEST_IMAGES = 1456  # in VOC 2012's ImageSets/Segmentation/test.txt
SUFFIXES = (".tar.gz", ".tgz")


def folder_of(competition: int) -> str:
    """Return the folder that holds the masks of a competition."""
    return f"results/VOC2012/Segmentation/comp{competition}_test_cls"


def encode(mask: npt.NDArray[np.uint8]) -> bytes:
    """Encode a mask uint8 `[H,W]` as a PNG with VOC's palette."""
    stream = io.BytesIO()
    save_mask(mask, stream)
    return stream.getvalue()


def check_output(output: Path, replace: bool) -> None:
    """Check, before any prediction, that the archive can be written.

    Raises:
        UserError: If the suffix is wrong, the file exists, or its folder is missing or read-only.
    """
    if not output.name.endswith(SUFFIXES):
        raise UserError(f"--output {output}: the server takes .tar.gz or .tgz only. Change the suffix.")
    if output.is_dir() or (output.exists() and not replace):
        raise UserError(f"--output {output} exists already. Pass another name or --replace true.")
    folder = output.absolute().parent
    if not os.access(folder, os.W_OK):
        raise UserError(f"--output {output}: no folder {folder} that can be written to. Pass another one.")


@contextmanager
def written(output: Path, competition: int, masks: Mapping[str, bytes]) -> Iterator[Path]:
    """Write an archive to a temporary file, which is renamed to `output` if the block raises nothing.

    Args:
        output: The final file.
        competition: 5 or 6.
        masks: The PNG of each image, by id.

    Raises:
        UserError: If it cannot be written.
    """
    part = output.with_name(f".{os.getpid()}.{output.name}")  # keeps the suffix, which is checked
    try:
        _write(part, competition, masks)
        yield part
        os.replace(part, output)
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written: {error.strerror}. Pass another path."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, competition: int, masks: Mapping[str, bytes]) -> None:
    with path.open("wb") as file:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,  # same masks, same bytes
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for id in sorted(masks):
                header = tarfile.TarInfo(f"{folder_of(competition)}/{id}.png")
                header.size, header.mode = len(masks[id]), 0o644
                tar.addfile(header, io.BytesIO(masks[id]))
        file.flush()
        os.fsync(file.fileno())
