"""Measures anything that satisfies `predict_proba`: latency, images a second, start, memory.

Flow: takes a `Setting` and predict_proba; gives seconds. Needs no TensorFlow.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras.answers.session import must_be_exact, open_session
from bloodkeras.contract import CARD_FILE, INPUT_NAME, INT8_FILE, OUTPUT_NAME
from bloodkeras.named_types import Floats, Pixels, Probs

Lane = tuple[str, "Setting"]  # a way to compute, and how
# What was measured in a lane: of "latency", or of a batch size, one number or pair a round.
Measured = dict[Lane, dict[str | int, list[Any]]]
PredictProba = Callable[[Pixels], Probs]  # uint8 (N, S, S, 3) -> float32 (N, K)
MATRIX_SIDE = 1024  # of the square matrices whose product shows what a core can do
LEAST_CALLS = 10  # however slow an engine is


@dataclass(frozen=True)
class Setting:
    """How an engine may use the machine.

    Attributes:
        threads: As many as cores it is allowed on.
        spinning: Whether onnxruntime's idle threads wait awake for the next piece of work.
    """

    threads: int
    spinning: bool = False

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return threads + ", spinning" * self.spinning


def onnx_predict(file: Path, setting: Setting) -> PredictProba:
    """Return the predict_proba of an export's ONNX file, run with exactly this setting."""
    card = json.loads((file.parent / CARD_FILE).read_text(encoding="utf-8"))
    exact = must_be_exact(card, "int8" if file.name == INT8_FILE else "float32")
    session = open_session(file, setting.threads, exact, setting.spinning)
    # Both outputs, as the Classifier asks for them: the score for foreign images is not free.
    names = [output.name for output in session.get_outputs()]
    place = names.index(OUTPUT_NAME)
    return lambda images: session.run(names, {INPUT_NAME: images})[place]


def latencies(predict: PredictProba, image: Pixels, seconds: float) -> Floats:
    """Return the seconds of each single answer, after a few that warm up.

    Args:
        image: uint8 (1, S, S, 3).
        seconds: How long to go on asking.
    """
    for _ in range(3):
        predict(image)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < LEAST_CALLS:
        started = time.perf_counter()
        predict(image)
        found.append(time.perf_counter() - started)
    return np.array(found)


def images_per_second(predict: PredictProba, images: Pixels, batch: int, seconds: float) -> float:
    """Return how many images are answered in a second, a batch at a time."""
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    batches = [chunk for chunk in batches if len(chunk) == batch] or [images]
    predict(batches[0])
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        chunk = batches[done // batch % len(batches)]
        predict(chunk)
        done += len(chunk)
    return done / elapsed if elapsed else 0.0


def matmul_gflops(seconds: float) -> float:
    """Return numpy's float32 matrix-multiply rate in GFLOP/s: the best product of many."""
    rng = np.random.default_rng(0)
    left, right = rng.random((2, MATRIX_SIDE, MATRIX_SIDE), np.float32)
    product = left @ right  # allocates, and wakes the core
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        np.matmul(left, right, out=product)
        best = min(best, time.perf_counter() - started)
    return 2 * MATRIX_SIDE**3 / best / 1e9


def peak_memory_mb() -> float | None:
    """Return the most memory this process ever held, in MB; None on Windows."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss is the parent's where that is larger: exec keeps it
        line = next(
            x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM")
        )
        return float(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
