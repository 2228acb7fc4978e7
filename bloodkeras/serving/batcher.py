"""Puts the images of requests that wait at the same time through the network together.

Flow: takes images from many requests; gives each its answers.
"""

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from bloodkeras.answers.answer import Answers
from bloodkeras.answers.classifier import Classifier
from bloodkeras.named_types import Pixels

Waiting = tuple[Pixels, "asyncio.Future[Answers]"]  # images, and who waits for their answers


class Batcher:
    """The one way to a network: what comes while it computes goes into the next batch.

    Attributes:
        batches: How many there were.
        images: How many images were in them.
    """

    def __init__(self, classifier: Classifier, size: int, wait_ms: float, **how: Any) -> None:
        """Take over a network.

        Args:
            classifier: It is asked in a thread of its own, so that others are served meanwhile.
            size: Images of a batch, at most; a larger request is one by itself.
            wait_ms: How long the first of a batch waits for others. 0: not at all.
            how: Of `Classifier.answer`: prior, views.
        """
        self.batches = self.images = 0
        self._ask = partial(classifier.answer, **how)
        self._size, self._wait = size, wait_ms / 1000
        self._waiting: deque[Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._running: asyncio.Task[None] | None = None
        self._full = asyncio.Event()

    async def answer(self, images: Pixels) -> Answers:
        """Return what the network says of uint8 (N, S, S, 3)."""
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self._waiting.append((images, future))
        if sum(len(held) for held, _ in self._waiting) >= self._size:
            self._full.set()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        """Take batches until nobody waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if self._wait and not self._full.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._full.wait(), self._wait)
                batch = self._take()
                if not batch:
                    continue
                images = np.concatenate([images for images, _ in batch])
                try:
                    answers = await loop.run_in_executor(self._thread, self._ask, images)
                except Exception as error:  # whatever it is, those who wait must be told
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                self.batches += 1
                self.images += len(images)
                self._hand_out(batch, answers)
        finally:
            self._running = None

    def _take(self) -> list[Waiting]:
        """Return the next batch: whole requests, without those that nobody waits for any more."""
        batch: list[Waiting] = []
        count = 0
        while self._waiting and (not batch or count + len(self._waiting[0][0]) <= self._size):
            images, future = self._waiting.popleft()
            if not future.done():  # a client that hung up
                batch.append((images, future))
                count += len(images)
        self._full.clear()
        return batch

    @staticmethod
    def _hand_out(batch: list[Waiting], answers: Answers) -> None:
        start = 0
        for images, future in batch:
            part = slice(start, start := start + len(images))
            if not future.done():
                future.set_result(
                    Answers(answers.probs[part], answers.foreign[part], answers.verdicts[part])
                )
