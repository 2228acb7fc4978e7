"""Counts the cores of the processor that this process may use, which can be fewer than it has.

Flow: takes nothing; gives cores, and holds a process to some of them.
"""

import os


def cores() -> list[int]:
    """Return the cores that this process may use, by their numbers."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return sorted(allowed(0)) if allowed else list(range(os.cpu_count() or 1))


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(cores())


def hold_to(chosen: list[int]) -> None:
    """Keep this thread, and the processes it starts from now on, to these cores, where possible."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen)
