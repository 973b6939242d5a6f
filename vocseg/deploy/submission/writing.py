"""Writing an archive: the same bytes for the same masks, whole or not at all."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vocseg.data.writing import save_mask
from vocseg.deploy.submission.layout import member_of
from vocseg.errors import UserError


def encode(mask: npt.NDArray[np.uint8]) -> bytes:
    """A mask uint8 `[H,W]` as a PNG with VOC's palette."""
    stream = io.BytesIO()
    save_mask(mask, stream)
    return stream.getvalue()


def check_target(output: Path, replace: bool) -> None:
    """See before the work that the archive can be written.

    Raises:
        UserError: If its name is not that of a packed tar, there is a file already, or no folder for it.
    """
    if not output.name.endswith((".tar.gz", ".tgz")):
        raise UserError(f"--output {output}: the server takes .tar.gz (or .tgz): give it that ending")
    if output.is_dir() or (output.exists() and not replace):
        how = "name another file" if output.is_dir() else "name another, or add --replace true"
        raise UserError(f"--output {output} is there already: {how}")
    if not os.access(output.absolute().parent, os.W_OK):
        raise UserError(f"--output {output}: {output.absolute().parent} is no folder that can be written to")


@contextmanager
def written(output: Path, competition: int, masks: Mapping[str, bytes]) -> Iterator[Path]:
    """An archive under another name, which gets its own when the block ends well, and else is gone.

    Args:
        output: The file to write.
        competition: 5 or 6.
        masks: The content of every PNG, by id.

    Raises:
        UserError: If it cannot be written.
    """
    part = output.with_name(f".{os.getpid()}.{output.name}")  # with the ending that is checked
    try:
        _write(part, competition, masks)
        yield part
        os.replace(part, output)
    except OSError as fault:
        raise UserError(f"--output {output}: cannot be written ({fault.strerror})") from fault
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, competition: int, masks: Mapping[str, bytes]) -> None:
    """Times, owners and rights are the same for all, and gzip's own header names nothing."""
    with path.open("wb") as file:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for id in sorted(masks):
                header = tarfile.TarInfo(member_of(competition, id))
                header.size, header.mode = len(masks[id]), 0o644
                tar.addfile(header, io.BytesIO(masks[id]))
        file.flush()
        os.fsync(file.fileno())
