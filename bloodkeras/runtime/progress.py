"""Says on stderr how far a long job is: a bar on a terminal, now and then a line elsewhere.

Flow: takes how many are done; gives text. The total is counted in a thread of its own meanwhile.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable

BAR_SECONDS = 0.2  # between two pictures of the bar
LINE_SECONDS = 5.0  # between two lines
BAR_WIDTH = 30  # characters


class Progress:
    """How far a job is. Use as a context manager."""

    def __init__(self, count: Callable[[], int] | None, done: int = 0, bar: bool | None = None):
        """Start the clock.

        Args:
            count: Returns how many there will be; None if nobody can know.
            done: How many were done before.
            bar: Draw a bar; None asks whether stderr is a terminal.
        """
        self._bar = sys.stderr.isatty() if bar is None else bar
        self._before = self._done = done
        self._started = self._shown = time.monotonic()
        self._total = 0
        if count:
            threading.Thread(target=self._count, args=(count,), daemon=True).start()

    def _count(self, count: Callable[[], int]) -> None:
        with contextlib.suppress(Exception):  # a job is done without knowing how long it is
            self._total = count()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def add(self, done: int) -> None:
        """Note that more are done, and show it if it is time."""
        self._done += done
        now = time.monotonic()
        if now - self._shown < (BAR_SECONDS if self._bar else LINE_SECONDS):
            return
        self._shown = now
        text = self.text(now - self._started)
        if self._bar:
            print(f"\r{self._picture()}{text}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def text(self, seconds: float) -> str:
        """Return done, total, speed and time left."""
        rate = (self._done - self._before) / max(seconds, 1e-9)
        if self._total < self._done:  # not counted yet, or pages that nobody counted
            return f"{self._done:,} images, {rate:,.0f} a second"
        left = (self._total - self._done) / max(rate, 1e-9)
        return (
            f"{self._done:,} of {self._total:,} images, {rate:,.0f} a second, {duration(left)} left"
        )

    def _picture(self) -> str:
        if self._total < self._done:
            return ""
        full = BAR_WIDTH * self._done // max(self._total, 1)
        return f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] "


def duration(seconds: float) -> str:
    """Return a time as 40 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
