"""Reading an `.npz` of which nothing is believed: memory is taken for what is there, not for what it says."""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_BYTES = 1 << 29  # unpacked; the scores of all of VOC take a few million
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz`, by name; none is made of pickled objects.

    Raises:
        OSError: If the file cannot be opened.
        Exception: Of nearly any kind, if its bytes are foreign or damaged, or unpack to half a gigabyte.
    """
    if path.exists() and not path.is_file():
        raise ValueError("a folder, or a pipe that one could wait for endlessly")
    with path.open("rb") as file:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_BYTES:
            raise ValueError("it unpacks to more than scores can be")
        return {each.filename.removesuffix(".npy"): _array(archive.read(each)) for each in members}


def _array(data: bytes) -> npt.NDArray[Any]:
    """An array, once its header is seen to say what is there."""
    stream = io.BytesIO(data)
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("an array is not as long as it says")
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array
