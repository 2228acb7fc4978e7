"""Turns the photographs of a request into pixels, in threads, so that others are served meanwhile.

Flow: takes an `Asked`; gives uint8 (N, 28, 28, 3), by the same path as files.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi import HTTPException

from bloodkeras.errors import BloodkerasError
from bloodkeras.runtime.preprocess import read_content
from bloodkeras.serving.tensors import PHOTOGRAPHS_NAME, Asked


class PhotographReader:
    """Threads that decode; all models of a process share them."""

    def __init__(self, threads: int):
        """Start none yet.

        Args:
            threads: Photographs that are decoded at the same time, at most: each may need hundreds
                of megabytes, whatever the length of its file.
        """
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def pixels(self, asked: Asked) -> np.ndarray:
        """Return the images of a request.

        A few are decoded at a time, then it is the next request's turn: a large one holds up
        nobody.

        Raises:
            HTTPException: 400: a photograph cannot be read; the reason names its index.
        """
        if asked.images is not None:
            return asked.images
        loop, found = asyncio.get_running_loop(), []
        while len(found) < len(asked.photographs):
            turn = range(len(found), min(len(found) + self._threads, len(asked.photographs)))
            try:
                found += await asyncio.gather(
                    *(
                        loop.run_in_executor(
                            self._pool,
                            read_content,
                            asked.photographs[k],
                            f"{PHOTOGRAPHS_NAME}[{k}]",
                            asked.framing,
                        )
                        for k in turn
                    )
                )
            except BloodkerasError as error:
                raise HTTPException(400, str(error)) from None
        return np.stack(found)
