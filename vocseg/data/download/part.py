"""The bytes of an archive that are here so far, and where they come from: what a later run goes on with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """The file at the server whose first bytes are here.

    Args:
        address: Where it was asked for.
        validator: What the server tells its versions apart by: a strong ETag, else a date; None: nothing.
        size: Its bytes in all; None: the server did not say.
    """

    address: str
    validator: str | None
    size: int | None


class Part:
    """`NAME.part` in a folder, and `NAME.part.json` that tells its origin.

    The bytes are never there without their origin: a part whose origin is unknown counts as empty.

    Args:
        folder: Where it lies.
        name: The archive's file name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self._note = folder / f"{name}.part", folder / f"{name}.part.json"

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() and self.origin else 0

    @property
    def origin(self) -> Origin | None:
        """Where they come from; None: unknown."""
        try:
            origin = Origin(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        known = isinstance(origin.address, str) and isinstance(origin.validator, str | None)
        return origin if known else None

    def begin(self, origin: Origin) -> None:
        """Empty it for the bytes of another file."""
        self.path.write_bytes(b"")
        self.adopt(origin)

    def adopt(self, origin: Origin) -> None:
        """Go on with the bytes of another source, which are known to be the same file."""
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(origin)) + "\n")
        fresh.replace(self._note)

    def tail(self, count: int) -> bytes:
        """The last bytes that are here."""
        with self.path.open("rb") as file:
            file.seek(-count, 2)
            return file.read()

    def remove(self) -> None:
        """Leave nothing of it."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
