"""The addresses that are asked for an archive, in order."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from vocseg.errors import UserError


def addresses(mirrors: Sequence[str], name: str, known: Sequence[str], only: bool) -> list[str]:
    """Mirrors first, then the known addresses, each once.

    Args:
        mirrors: Addresses that the user gave; one that ends with / is a folder that holds the archive.
        name: The archive's file name.
        known: The addresses that are asked anyway.
        only: Ask the mirrors alone.

    Raises:
        UserError: If a mirror is no address of the web.
    """
    return list(dict.fromkeys([*(_address(mirror, name) for mirror in mirrors), *(() if only else known)]))


def host(address: str) -> str:
    """The server's name, which is what a reader knows an address by."""
    return urlsplit(address).netloc.rpartition("@")[2]  # without a password


def _address(mirror: str, name: str) -> str:
    try:
        parts = urlsplit(mirror)
        proper = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an open bracket
        proper = False
    if not proper:
        raise UserError(
            f"--mirror {mirror} is no address to fetch from: it must start with http:// or https:// and "
            "name a server (a file on this machine goes to --archive)"
        )
    return mirror + name if mirror.endswith("/") else mirror
