"""File type by its first bytes."""

import re
from pathlib import Path

from vocseg.errors import UserError

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:[/:]|registry(:|$)")
_MARKS = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "packed with gzip: unpack it",
    b"BZh": "packed with bzip2: unpack it",
    b"\xfd7zXZ": "packed with xz: unpack it",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it",
    b"\x89HDF": "an HDF5 file, perhaps of Keras",
    b"\x93NUMPY": "an array of numpy",
}
_SAFETENSORS = re.compile(rb".{8}\{\s*\"", re.DOTALL)  # eight bytes of length, then JSON
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")


def local_file(path: str | Path, flag: str, where: str = "") -> Path:
    """A file that can be opened without waiting.

    Args:
        path: What was typed.
        flag: Which option it was typed for.
        where: What to name instead of a folder.

    Raises:
        UserError: If it is an address, missing, a folder, a pipe or a device.
    """
    if _ADDRESS.match(str(path)):
        raise UserError(f"{flag} {path}: is an address; fetch the file first, and name it where it then lies")
    path = Path(path)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            raise UserError(f"{flag} {path}: is a folder; name a file in it{where}")
        if path.exists():
            raise UserError(f"{flag} {path}: is a pipe or a device; name a plain file")
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise UserError(f"{flag} {path}: cannot be opened ({fault})") from fault
    raise UserError(f"{flag} {path}: there is no such file")


def guess_file_type(path: Path) -> str | None:
    """What a file is by its first bytes; None: a zip file or a pickle, so it may be torch's."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "empty (0 bytes)"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80")):
        return None
    known = next((what for mark, what in _MARKS.items() if start.startswith(mark)), None)
    if known is None and start[257:262] == b"ustar":
        known = "a tar archive"
    if known is None and _SAFETENSORS.match(start):
        known = "a safetensors file"
    if known is None and _TEXT.fullmatch(start):
        page = b"<html" in start.lower() or b"<!doctype" in start.lower()
        known = "a web page, perhaps of a failed download" if page else "text"
    return known or "of no kind that torch writes"


def zip_seems(names: list[str]) -> str | None:
    """What a zip file is by its entries; None: it may be torch's."""
    ends = {name.partition("/")[2] for name in names}
    if "constants.pkl" in ends or any(end.startswith("code/") for end in ends):
        return "a TorchScript archive, which is a program: save its state_dict() instead"
    if ".data/extern_modules" in ends:
        return "a torch.package archive, which is a program: save its state_dict() instead"
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of numpy"
    return None if "data.pkl" in ends else "a zip file, but none that torch wrote"
