"""Says how far a long job is and when it ends: a bar on a terminal, else a line now and then.

Flow: takes how many are done; logs it, or draws a bar where the command line shows one. `Progress`
is for images, whose total is counted in a thread of its own meanwhile, `Stages` for a few long
parts; a training has `forecast.py`.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

BAR_SECONDS = 0.2  # between two pictures of the bar
LINE_SECONDS = 5.0  # between two lines
BAR_WIDTH = 30  # characters


PACKAGE = logging.getLogger("bloodkeras")
LOG = logging.getLogger(__name__)
CLEAR = "\r\x1b[K"  # the line of a terminal


class Console(logging.Handler):
    """Writes what the package logs as plain lines to standard error: what the command line shows.

    Whoever read the output may be gone, which is no reason to end a job of an hour: what cannot be
    written is left out.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, in place of a bar that may be drawn there."""
        said = "bloodkeras: " if record.levelno >= logging.WARNING else ""
        write(f"{CLEAR if is_terminal() else ''}{said}{self.format(record)}\n")


def show(level: int = logging.INFO) -> None:
    """Show what the package logs, from a level on; from Python it is silent without this."""
    PACKAGE.handlers = [Console()]
    PACKAGE.setLevel(level)
    PACKAGE.propagate = False  # TensorFlow's packages have a handler of their own above it


def write(text: str) -> None:
    """Write to standard error, if anybody reads it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
        sys.stderr.write(text)
        sys.stderr.flush()


def is_terminal() -> bool:
    """Return whether standard error is one."""
    return bool(sys.stderr and not sys.stderr.closed and sys.stderr.isatty())


class Line:
    """A line of a terminal that is drawn again and again; elsewhere only what stays is logged."""

    def __init__(self, bar: bool | None = None):
        """Take over the line.

        Args:
            bar: Whether to draw it; None: where the command line shows progress on a terminal.
        """
        shown = any(isinstance(handler, Console) for handler in PACKAGE.handlers)
        wanted = shown and LOG.isEnabledFor(logging.INFO) and is_terminal()
        self.bar = wanted if bar is None else bar
        self._drawn = -BAR_SECONDS

    def draw(self, text: str, share: float, now: float) -> None:
        """Draw a bar and a text, if it is a terminal and time.

        Args:
            text: What is said beside the bar.
            share: How much of it is full, 0..1.
            now: time.monotonic().
        """
        if self.bar and now - self._drawn >= BAR_SECONDS:
            self._drawn = now
            write(f"\r{picture(share)}{text}\x1b[K")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self.clear()
        LOG.info(text)

    def clear(self) -> None:
        """Remove what was drawn."""
        if self.bar:
            write(CLEAR)


class Progress:
    """How far a job is. Use as a context manager."""

    def __init__(self, count: Callable[[], int] | None, done: int = 0, bar: bool | None = None):
        """Start the clock.

        Args:
            count: Returns how many there will be; None if nobody can know.
            done: How many were done before.
            bar: As in `Line`.
        """
        self._line = Line(bar)
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

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def add(self, done: int) -> None:
        """Note that more are done, and show it if it is time."""
        self._done += done
        now = time.monotonic()
        if now - self._shown < (BAR_SECONDS if self._line.bar else LINE_SECONDS):
            return
        self._shown = now
        text = self.text(now - self._started)
        if self._line.bar:
            self._line.draw(text, self._done / max(self._total, 1), now)
        else:
            self._line.say(text)

    def reach(self, done: int) -> None:
        """Note how many are done altogether, those that were told of one by one included."""
        self.add(max(0, done - self._done))

    def text(self, seconds: float) -> str:
        """Return done, total, speed and time left."""
        rate = (self._done - self._before) / max(seconds, 1e-9)
        if self._total < self._done:  # not counted yet, or pages that nobody counted
            return f"{self._done:,} images, {rate:,.0f} a second"
        left = (self._total - self._done) / max(rate, 1e-9)
        return (
            f"{self._done:,} of {self._total:,} images, {rate:,.0f} a second, {duration(left)} left"
        )


class Stages:
    """Says which of a few long parts of a job begins, and when the last will be done."""

    def __init__(self, job: str, parts: dict[str, float] | Iterable[str], seconds: float = 0.0):
        """Start the clock.

        Args:
            job: What is said first, such as "export of tiny".
            parts: Their names; as a dict, how long each takes in proportion to the others.
            seconds: A guess how long all of them take; 0: none, until the first is done.
        """
        self._parts = parts if isinstance(parts, dict) else dict.fromkeys(parts, 1.0)
        self._names = list(self._parts)
        self._job, self._guess = job, seconds
        self._started = time.monotonic()

    def begin(self, name: str) -> None:
        """Say that a part begins; those before it are done."""
        place = self._names.index(name)
        done = sum(self._parts[before] for before in self._names[:place])
        left = sum(self._parts.values()) - done
        text = f"{self._job}, {place + 1} of {len(self._names)}: {name}"
        seconds = (time.monotonic() - self._started) / done * left if done else self._guess
        end = f"; all done {about_when(seconds)}" if seconds else ""
        LOG.info(text + end)


def told(work: Callable[..., Any], images: Any, at_once: int = 256) -> list[Any]:
    """Do some work on many images, a slice at a time, and say how far it is.

    Args:
        work: Takes a slice of the images.
        images: An array (N, ...).
        at_once: Images of a slice: a multiple of what the work takes in one batch, so that its
            batches stay the same.

    Returns:
        What the work returned of each slice.
    """
    with Progress(lambda: len(images)) as progress:
        found = []
        for start in range(0, max(len(images), 1), at_once):
            part = images[start : start + at_once]
            found.append(work(part))
            progress.add(len(part))
    return found


def picture(share: float) -> str:
    """Return a bar, full to a share 0..1; nothing where more is done than there was to do."""
    if share > 1:
        return ""
    full = int(BAR_WIDTH * share)
    return f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] "


def about_when(seconds: float) -> str:
    """Return when so many seconds are over: in 40 s, about 17:40, or about Sun 03:10."""
    if seconds < 100:
        return f"in about {duration(max(seconds, 1))}"
    now = time.time()
    then = time.localtime(now + seconds)
    today = then.tm_yday == time.localtime(now).tm_yday
    return f"about {time.strftime('%H:%M' if today else '%a %H:%M', then)}"


def duration(seconds: float) -> str:
    """Return a time as 40 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
