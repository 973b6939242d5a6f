"""How an audit has seen every file, so that later runs notice what has changed since."""

import json
from collections.abc import Mapping
from pathlib import Path

from vocseg.data.contents import FileContent
from vocseg.errors import UserError
from vocseg.whole_files import write_whole

MANIFEST = "manifest.json"


def write_manifest(cache: Path, contents: Mapping[str, FileContent]) -> Path:
    """Lay down how every file is expected to stay; replaces an earlier manifest."""
    plain = {name: [facts.raw, facts.pixels] for name, facts in sorted(contents.items())}
    write_whole(cache / MANIFEST, json.dumps(plain, indent=0) + "\n")
    return cache / MANIFEST


def read_manifest(cache: Path) -> dict[str, str]:
    """The digest of the bytes of every file that an audit has seen; empty if there was none.

    Raises:
        UserError: If there is a manifest, but it cannot be read.
    """
    path = cache / MANIFEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(digests, list) and isinstance(digests[0], str) for digests in plain.values()):
            raise TypeError("a digest is no text")
        return {name: digests[0] for name, digests in plain.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as fault:
        raise UserError(
            f"{path} cannot be read ({type(fault).__name__}): run `python -m vocseg audit` again, or "
            "remove it"
        ) from fault


def check_unchanged(path: Path, digest: str, expected: str | None) -> None:
    """Whether a file is still what the audit saw.

    Args:
        path: The file.
        digest: Of its bytes.
        expected: What the manifest has; None: it does not name the file.

    Raises:
        UserError: If it has changed.
    """
    if expected is not None and digest != expected:
        raise UserError(
            f"{path} has changed since the audit: restore it, or accept it by running "
            "`python -m vocseg audit` again"
        )
