"""How long a source may keep us waiting."""

import time
from dataclasses import dataclass


class Refused(Exception):
    """This source does not serve, and asking again will not help: its message says why."""


class Broken(Exception):
    """The source did not serve this time: its message says why."""


@dataclass(frozen=True)
class Patience:
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


USUAL = Patience()


class Pace:
    """Watches the speed of one answer.

    Args:
        patience: The limits.
    """

    def __init__(self, patience: Patience) -> None:
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
            raise Refused(f"only {self._bytes / past:,.0f} bytes a second for {past:.0f} s")
        self._since, self._bytes = time.monotonic(), 0
