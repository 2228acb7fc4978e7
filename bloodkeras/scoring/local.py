"""Classifies partitions on this machine: in this process, or in several.

Flow: takes the folder of answers and the partitions that are wanted; gives each `Done` as it comes.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bloodkeras.errors import BloodkerasError
from bloodkeras.interrupts import end_with_parent
from bloodkeras.scoring.partition import Done, Tell, Worker, unheard

ASK_SECONDS = 1.0  # between two looks at how far the processes are
JOIN_SECONDS = 10  # of a thread that has nothing left to wait for

_worker: Worker | None = None  # of a process of several
_images: Any = None  # how many images of each partition are done, shared by the processes


def run_local(
    out: Path, partitions: list[int], workers: int, cores: int, tell: Tell = unheard
) -> Iterator[Done]:
    """Yield the partitions as they get done.

    Args:
        out: The folder of answers, with its plan.
        partitions: The wanted ones.
        workers: Processes; 1 is this one. The cores are shared out among them.
        cores: Of this machine.
        tell: Called now and then with how many more images are done.

    Raises:
        BloodkerasError: Answers cannot be written, or a process was killed.
    """
    threads = max(1, cores // workers)
    if workers == 1:
        yield from map(partial(Worker(out, threads).classify, tell=tell), partitions)
        return
    spawn = multiprocessing.get_context("spawn")
    # Images done of each partition, which one process writes to: no lock that a killed one keeps.
    images = spawn.RawArray("q", len(partitions))
    with _ended(ProcessPoolExecutor(workers, spawn, _start, (out, threads, images))) as pool:
        try:
            left, told = {pool.submit(_classify, *row) for row in enumerate(partitions)}, 0
            while left:
                ended, left = futures.wait(left, ASK_SECONDS, futures.FIRST_COMPLETED)
                done_now = sum(images)
                tell(done_now - told)
                told = done_now
                for done in ended:
                    yield done.result()
        except BrokenProcessPool:
            raise BloodkerasError(
                "a worker process was killed, perhaps because memory ran out: run the same command "
                "again to continue, with fewer --workers"
            ) from None


@contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """End the processes with the block, in the middle of a partition if need be."""
    try:
        yield pool
    finally:
        manager = getattr(pool, "_executor_manager_thread", None)
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        if manager:  # else Python may end while it closes its pipes, and show a traceback
            manager.join(JOIN_SECONDS)


def _start(out: Path, threads: int, images: Any) -> None:
    """Prepare a process: Ctrl-C is for the one that started it, whose death it does not outlive."""
    global _worker, _images
    _images = images
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _worker = Worker(out, threads)


def _classify(row: int, partition: int) -> Done:
    def tell(count: int) -> None:
        _images[row] += count

    assert _worker  # `_start` made it
    return _worker.classify(partition, tell)
