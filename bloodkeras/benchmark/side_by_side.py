"""Compares all the ways to run one exported network, side by side in one run.

Flow: takes an export, its run and `Splits`; leaves benchmark.json and benchmark.txt in
<runs>/benchmark-<model>/. Each way and setting has a process of its own; they are asked in turn,
several rounds, so that a slow moment of the machine hits all of them. Start and memory are
measured in fresh processes.
"""

import collections
import json
import logging
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bloodkeras.benchmark import engines, timing
from bloodkeras.benchmark.engines import ENGINES, Source
from bloodkeras.benchmark.table import render_table, summarise
from bloodkeras.benchmark.timing import Lane, Measured, Setting
from bloodkeras.cores import cores, hold_to
from bloodkeras.data.splits import Splits
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.named_types import Json, Pixels, Probs
from bloodkeras.progress import about_when, told
from bloodkeras.whole_file import write_json, write_text

LOG = logging.getLogger(__name__)

BATCHES = (16, 64, 256)  # images at once, beside one
COLD_STARTS = 3  # the median counts
REST = 0.2  # seconds between two measurements: threads that spin fall asleep
IMAGES = 1024  # to draw batches from: more than the caches hold

STATE: Json = {}  # in each engine's process: predict, images


def run_benchmark(source: Source, splits: Splits, rounds: int, seconds: float) -> Json:
    """Measure every engine that is there, print what is measured, and save it.

    Args:
        splits: Accuracy is that on test.
        rounds: Counted ones; one more warms up.
        seconds: Of each measurement.

    Returns:
        What benchmark.json holds.
    """
    if rounds < 1 or seconds <= 0:
        raise UsageError("benchmark takes --rounds 1 or more and --seconds above 0")
    reasons = {name: engines.missing(name, source) for name in ENGINES}
    names = [name for name, reason in reasons.items() if not reason]
    available = cores()
    facts = _facts(source, splits, available, rounds, seconds)
    count = sum(len(engines.settings(name, len(available))) for name in names)
    asked = (rounds + 1) * count * (1 + len(BATCHES)) * (seconds + REST)
    LOG.info(f"{rounds + 1} rounds of {count} ways to compute, done {about_when(asked)}")
    for name, reason in reasons.items():
        if reason:
            LOG.info(f"left out: {name}: {reason}")
    rows = {}
    for name in names:
        LOG.info(f"start and memory of {name}")
        rows[name] = _fixed(name, source)
    images = splits.test.images
    with _lanes(names, source, available, images[:IMAGES]) as lanes:
        for name in names:
            answers = lanes[name, Setting(1)].submit(_answer, images).result()
            rows[name]["accuracy"] = float((answers.argmax(1) == splits.test.labels).mean())
        measured = _rounds(lanes, rounds, seconds)
    result = facts | {"left_out": {k: v for k, v in reasons.items() if v}}
    result |= summarise(rows, measured, facts["multiply_adds"])
    text = render_table(result)
    write_json(Path(source.work, "benchmark.json"), result)
    write_text(Path(source.work, "benchmark.txt"), text)
    print(text)
    return result


@contextmanager
def _lanes(
    names: list[str], source: Source, available: list[int], images: Pixels
) -> Iterator[dict[Lane, ProcessPoolExecutor]]:
    """Yield a process for each engine and setting, held to as many cores as it has threads."""
    wanted = [(name, s) for name in names for s in engines.settings(name, len(available))]
    pools = {}
    with ExitStack() as stack:
        for lane in (*wanted, ("matmul", Setting(1))):
            hold_to(available[: lane[1].threads])  # what is started now inherits it
            try:
                pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
                pools[lane] = stack.enter_context(pool)
                pool.submit(_prepare, *lane, source, images).result()
            finally:
                hold_to(available)
        yield pools


def _rounds(lanes: dict[Lane, ProcessPoolExecutor], rounds: int, seconds: float) -> Measured:
    """Return {(name, setting): {"latency" or batch: one number or pair a counted round}}."""
    found: Measured = {lane: collections.defaultdict(list) for lane in lanes}
    for number in range(rounds + 1):
        started = time.perf_counter()
        for job in ("latency", *BATCHES):
            for lane, pool in lanes.items():
                if lane[0] == "matmul" and job != "latency":
                    continue
                time.sleep(REST)
                value = pool.submit(_measure, job, seconds).result()
                if number:  # round 0 warms up
                    found[lane][job].append(value)
        took = f"{time.perf_counter() - started:.0f} s"
        LOG.info(f"round {number} of {rounds}: {took}{'' if number else ', warm-up'}")
    return found


def _prepare(name: str, setting: Setting, source: Source, images: Pixels) -> None:
    """Load an engine in its own process."""
    _mute()
    STATE["images"] = images
    if name != "matmul":
        STATE["predict"] = ENGINES[name].load(source, setting)


def _mute() -> None:
    """Send this process' stderr nowhere: TensorFlow's notes. Errors come back as exceptions."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _measure(job: str | int, seconds: float) -> Any:
    """Return (p50, p95) in ms, images a second, or GFLOP/s of a matrix product."""
    images, predict = STATE["images"], STATE.get("predict")
    if predict is None:
        return timing.matmul_gflops(seconds)
    if isinstance(job, str):  # latency
        found = timing.latencies(predict, images[:1], seconds) * 1e3
        return [float(np.percentile(found, share)) for share in (50, 95)]
    return timing.images_per_second(predict, images, job, seconds)


def _answer(images: Pixels) -> Probs:
    return np.concatenate(told(STATE["predict"], images, BATCHES[-1]))


def _fixed(name: str, source: Source) -> Json:
    """Return size, cold start and peak memory of an engine."""
    starts = [_cold_start(name, source) for _ in range(COLD_STARTS)]
    peaks = [start["peak_memory_mb"] for start in starts if start["peak_memory_mb"]]
    return {
        "file_bytes": ENGINES[name].file(source).stat().st_size,
        "cold_start_s": float(np.median([start["seconds"] for start in starts])),
        "peak_memory_mb": float(np.median(peaks)) if peaks else None,
    }


def _cold_start(name: str, source: Source) -> Json:
    """Start a fresh Python, let it answer, and return the seconds to its first answer."""
    code = (
        "from bloodkeras.benchmark.engines import Setting, Source, cold_start\n"
        f"cold_start({name!r}, {source!r}, Setting({len(cores())}), {IMAGES})"
    )
    started = time.time()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environment
    )
    if done.returncode:
        raise BloodkerasError(f"{name} does not start: {done.stderr.strip().splitlines()[-1]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": told["answered"] - started, "peak_memory_mb": told["peak_memory_mb"]}


def _facts(
    source: Source, splits: Splits, available: list[int], rounds: int, seconds: float
) -> Json:
    """Return what was measured, where and how."""
    card = json.loads(Path(source.export, "card.json").read_text(encoding="utf-8"))
    return {
        "model": card["model"],
        "multiply_adds": card["multiply_adds"],
        "machine": {"processor": _processor(), "cores": len(available), "load": _load()},
        "versions": engines.versions(),
        "rounds": rounds,
        "seconds": seconds,
        "evaluated_on": splits.fingerprint(),
        "source": {k: Path(getattr(source, k)).name for k in ("export", "run", "work")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows does not say
