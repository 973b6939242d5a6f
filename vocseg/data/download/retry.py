"""Sources of a download and the policy of retries."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
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


class PermanentError(Exception):
    """This source does not serve, and asking again will not help: its message says why."""


class TransientError(Exception):
    """The source did not serve this time: its message says why."""


@dataclass(frozen=True)
class RetryPolicy:
    """Limits in time, so that no machine's speed matters.

    Args:
        stall: Seconds without a single byte after which a source is given up.
        crawl: Bytes a second; a source that stays below for a whole window is given up.
        window: Seconds over which the speed is judged.
        tries: Attempts in a row that may bring nothing new.
        pause: Seconds before the second attempt; each further one waits twice as long.
    """

    stall: float = 30.0
    crawl: float = 2_000.0  # at which VOC would take twelve days
    window: float = 60.0
    tries: int = 3
    pause: float = 1.0


USUAL = RetryPolicy()


class SpeedMonitor:
    """Watches the speed of one answer.

    Args:
        patience: The limits.
    """

    def __init__(self, patience: RetryPolicy) -> None:
        self._patience, self._since, self._bytes = patience, time.monotonic(), 0

    def count(self, number: int) -> None:
        """Bytes that came.

        Raises:
            Refused: If too few came over a whole window.
        """
        self._bytes += number
        past = time.monotonic() - self._since
        if not number or past < self._patience.window:
            return
        if self._bytes < self._patience.crawl * past:
            raise PermanentError(f"only {self._bytes / past:,.0f} bytes a second for {past:.0f} s")
        self._since, self._bytes = time.monotonic(), 0
