"""Classifies partitions on this machine: in this process, or in several.

Flow: takes the folder of answers and the partitions that are wanted; gives each `Done` as it comes.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from bloodkeras.errors import BloodkerasError
from bloodkeras.interrupts import end_with_parent
from bloodkeras.scoring.partition import Done, Worker

_worker: Worker | None = None  # of a process of several


def run_local(out: Path, partitions: list[int], workers: int, cores: int) -> Iterator[Done]:
    """Yield the partitions as they get done.

    Args:
        out: The folder of answers, with its plan.
        partitions: The wanted ones.
        workers: Processes; 1 is this one. The cores are shared out among them.
        cores: Of this machine.

    Raises:
        BloodkerasError: Answers cannot be written, or a process was killed.
    """
    threads = max(1, cores // workers)
    if workers == 1:
        yield from map(Worker(out, threads).classify, partitions)
        return
    spawn = multiprocessing.get_context("spawn")
    with _ended(ProcessPoolExecutor(workers, spawn, _start, (out, threads))) as pool:
        try:
            for done in as_completed([pool.submit(_classify, k) for k in partitions]):
                yield done.result()
        except BrokenProcessPool:
            raise BloodkerasError(
                "a worker process was killed, for want of memory perhaps: run the same command "
                "again to go on, with fewer --workers"
            ) from None


@contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """End the processes with the block, in the middle of a partition if need be."""
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def _start(out: Path, threads: int) -> None:
    """Prepare a process: Ctrl-C is for the one that started it, whose death it does not outlive."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _worker = Worker(out, threads)


def _classify(partition: int) -> Done:
    return _worker.classify(partition)
