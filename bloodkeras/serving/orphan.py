"""Ends a worker whose parent was killed, and could not end it.

Flow: called once in a worker process.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Stop this process as SIGTERM does, after its last answer, when its parent is gone.

    In a process that multiprocessing did not start, nothing happens. Works wherever Python does:
    it waits for the end of a pipe (of a handle, on Windows) that the parent alone holds.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True, name="parent").start()
