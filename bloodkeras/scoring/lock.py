"""Locks a file on Linux, macOS and Windows, for as long as the process lives.

Flow: takes an open file; says whether it is this process' own now.
"""

import importlib
from contextlib import suppress
from typing import Any, BinaryIO

fcntl: Any = None  # Windows has none
msvcrt: Any = None  # nor has any other system
with suppress(ImportError):
    fcntl = importlib.import_module("fcntl")
with suppress(ImportError):
    msvcrt = importlib.import_module("msvcrt")


def take_lock(file: BinaryIO) -> bool:
    """Take the lock of a file, which ends when the file is closed or the process dies.

    Returns:
        False if another process has it; True also where there are no locks.
    """
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):  # as Linux and macOS, and as Windows says it
        return False
    except OSError:  # a file system without locks
        pass
    return True
