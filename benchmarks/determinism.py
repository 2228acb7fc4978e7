"""Measures what bit-for-bit repeatable training costs, and what a checkpoint an epoch does.

Flow: takes a model and a data file (--data); gives seconds an epoch on stdout.

    PYTHONPATH=. python benchmarks/determinism.py residual    # about 5 minutes on two idle cores

Rounds alternate `deterministic` (the default of `train`) and `fast` (`train --fast`), each in a
process of its own, because op determinism cannot be switched off again. Each process trains whole
epochs as `train` does, checkpoints included, and times those after the first, which builds the
graph. `checkpoint` is the time from the end of an epoch's validation to the state being on disk.
"""

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bloodkeras.data.splits import load_splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.recipes import RECIPES, named_recipe

WAYS = ("deterministic", "fast")


def measure(recipe, splits, fast: bool, seconds) -> None:
    """Train; send (seconds of each epoch after the first, seconds of each checkpoint, history)."""
    from bloodkeras.training import train
    from bloodkeras.training.callbacks import Keeper

    ends, kept = [], []

    class Timed(Keeper):
        def on_epoch_end(self, epoch, logs=None):
            started = time.perf_counter()
            super().on_epoch_end(epoch, logs)
            ends.append(time.perf_counter())
            kept.append(ends[-1] - started)

    train.Keeper = Timed
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        train.train(recipe, splits, run, fast=fast)
        history = (run / "history.csv").read_bytes() + (run / "model.keras").read_bytes()
    epochs = [after - before for before, after in itertools.pairwise(ends)]
    seconds.send((epochs, kept, history))


def run_process(recipe, splits, fast: bool):
    """Measure in a new process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(recipe, splits, fast, there))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


def main() -> None:
    """Read the options, measure in rounds, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="residual", choices=sorted(RECIPES))
    parser.add_argument("--data", metavar="FILE", help="an .npz, or synthetic")
    parser.add_argument("--rounds", type=int, default=3, help="of both ways (default 3)")
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted")
    options = parser.parse_args()
    if options.rounds < 1 or options.epochs < 2:
        parser.error("--rounds takes 1 or more, --epochs 2 or more")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        splits = load_splits(options.data)
    except BloodkerasError as error:
        sys.exit(str(error))
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"warning: the machine is busy (load {load:.1f}): these times mislead")
    recipe = dataclasses.replace(named_recipe(options.model), train_epochs=options.epochs)
    seconds, kept = {way: [] for way in WAYS}, []
    results = {way: set() for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            epochs, checkpoints, result = run_process(recipe, splits, way == "fast")
            seconds[way] += epochs
            kept += checkpoints
            results[way].add(result)
    print(f"\n{options.model}, {options.rounds} rounds of {options.epochs} epochs")
    for way in WAYS:
        median, low, high = statistics.median(seconds[way]), min(seconds[way]), max(seconds[way])
        print(f"{way:14} {median:.2f} ({low:.2f} to {high:.2f}) s an epoch, ", end="")
        print(f"{len(results[way])} different results of {options.rounds}")
    ratio = statistics.median(seconds[WAYS[0]]) / statistics.median(seconds[WAYS[1]])
    print(f"deterministic / fast {ratio:.3f}; checkpoint {statistics.median(kept):.3f} s an epoch")


if __name__ == "__main__":
    main()
