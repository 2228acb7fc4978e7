"""Turns the photographs of a request into pixels, in threads, so that others are served meanwhile.

Flow: takes an `Asked`; gives uint8 (N, S, S, 3), by the same path as files.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from fastapi import HTTPException

from bloodkeras.errors import BloodkerasError
from bloodkeras.images.preprocess import doubt_of, read_content
from bloodkeras.named_types import Pixels
from bloodkeras.serving.tensors import PHOTOGRAPHS_NAME, Asked


class PhotographReader:
    """Threads that decode; all models of a process share them."""

    def __init__(self, threads: int) -> None:
        """Start none yet.

        Args:
            threads: Photographs that are decoded at the same time, at most: each may need hundreds
                of megabytes, whatever the length of its file.
        """
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def pixels(self, asked: Asked) -> tuple[Pixels, list[str]]:
        """Return a request's images, uint8 (N, S, S, 3), and why the framing of each is in doubt.

        A few are decoded at a time, then it is the next request's turn: a large one holds up
        nobody.

        Raises:
            HTTPException: 400: a photograph cannot be read; the reason names its index.
        """
        if asked.images is not None:
            return asked.images, [""] * len(asked.images)
        found: list[Pixels] = []
        while len(found) < len(asked.photographs):
            turn = range(len(asked.photographs))[len(found) :][: self._threads]
            decoding = [self._decode(asked, k) for k in turn]
            for pixels in await asyncio.gather(*decoding, return_exceptions=True):
                if isinstance(pixels, BloodkerasError):
                    raise HTTPException(400, str(pixels))
                if isinstance(pixels, BaseException):
                    raise pixels
                found.append(pixels)
        return np.stack(found), [doubt_of(pixels) for pixels in found]

    def _decode(self, asked: Asked, k: int) -> asyncio.Future[Any]:
        name = f"{PHOTOGRAPHS_NAME}[{k}]"
        return asyncio.get_running_loop().run_in_executor(
            self._pool, read_content, asked.photographs[k], name, asked.framing
        )
