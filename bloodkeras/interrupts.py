"""Ctrl-C and SIGTERM, so that neither gets lost, and no process outlives who started it.

Flow: `train` and `score` heed them first; `callbacks.py` looks after each batch; the worker
processes of `score` and `serve` follow their parent.

Python raises an exception for a signal wherever it happens to be. Where that is inside a call from
C code which clears errors (NumPy and TensorFlow do while they find out what an object is), the stop
would be cleared with it, and the training go on. So it is noted too, and raised again.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from bloodkeras.errors import Terminated

_noted: list[KeyboardInterrupt] = []


def heed_stops() -> None:
    """Let SIGTERM end the program as Ctrl-C does, with one line, and note both."""
    _noted.clear()

    def stop(number: int, frame: object) -> None:
        _noted.append(
            Terminated("stopped by SIGTERM") if number == signal.SIGTERM else KeyboardInterrupt()
        )
        raise _noted[-1]

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, stop)


def raise_noted() -> None:
    """Raise what was noted, if it did not end the training by itself.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came.
    """
    if _noted:
        raise _noted.pop()


def end_with_parent() -> None:
    """Stop this process as SIGTERM does when the one that started it is gone, killed perhaps.

    In a process that multiprocessing did not start, nothing happens. It works wherever Python
    does: it waits for the end of a pipe (a handle, on Windows) that the parent alone holds.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True, name="parent").start()
