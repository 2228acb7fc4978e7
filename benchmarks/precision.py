"""Measures whether training in bfloat16 is quicker here than in float32, and by how much.

Flow: takes a model; gives milliseconds a training step, and their ratio, on stdout.

    PYTHONPATH=. python benchmarks/precision.py residual    # about three minutes on two cores

Each precision has a process of its own, because TensorFlow keeps its threads and kernels; both are
there at once and asked in turn, so that a slow moment of the machine hits both. A process that has
not taken its first steps in --patience seconds is given up: without oneDNN's kernels a step in
bfloat16 can take minutes. `ONEDNN_MAX_CPU_ISA=AVX512_CORE` or AVX2 before the command forbids
oneDNN newer instructions, which shows roughly what another processor would do.
"""

import argparse
import multiprocessing
import os
import statistics
import time

from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES, named_recipe

PRECISIONS = ("float32", "mixed_bfloat16")


def serve(name: str, precision: str, steps: int, wanted) -> None:
    """Take `steps` training steps each time a number comes; send their seconds."""
    import numpy as np

    from bloodkeras.training.models import build_model
    from bloodkeras.training.train import compile_model

    recipe = override(named_recipe(name), {"precision": precision})
    model = build_model(recipe)
    compile_model(model, recipe, 7)  # a prime number of steps an epoch: one step a call
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (recipe.train_batch_size, 28, 28, 3)).astype(np.float32)
    labels = random.integers(0, 8, recipe.train_batch_size)
    labels = np.eye(8, dtype=np.float32)[labels] if recipe.soft_labels else labels
    model.steps_per_execution = 1
    model.train_on_batch(images, labels)  # builds the graph
    model.train_on_batch(images, labels)
    wanted.send(0.0)
    while wanted.recv():
        started = time.perf_counter()
        for _ in range(steps):
            model.train_on_batch(images, labels)
        wanted.send(time.perf_counter() - started)


def main() -> None:
    """Read the options, measure in rounds, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="residual", choices=sorted(RECIPES))
    parser.add_argument("--rounds", type=int, default=5, help="of both precisions (default 5)")
    parser.add_argument("--steps", type=int, default=5, help="of a round (default 5)")
    parser.add_argument("--patience", type=float, default=300, help="seconds (default 300)")
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for precision in PRECISIONS:
        pipes[precision], there = context.Pipe()
        arguments = (options.model, precision, options.steps, there)
        context.Process(target=serve, args=arguments, daemon=True).start()
        if not pipes[precision].poll(options.patience):
            print(f"{precision}: no two steps in {options.patience:.0f} s, given up")
            return
        pipes[precision].recv()
    found = {precision: [] for precision in PRECISIONS}
    for _ in range(options.rounds):
        for precision in PRECISIONS:
            pipes[precision].send(True)
            found[precision].append(1000 * pipes[precision].recv() / options.steps)
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "all that there are")
    print(f"{options.model}, {options.rounds} rounds of {options.steps} steps, instructions: {isa}")
    for precision in PRECISIONS:
        low, median, high = (f(found[precision]) for f in (min, statistics.median, max))
        print(f"{precision:16}{median:.0f} ({low:.0f} to {high:.0f}) ms a step")
    ratios = [b / a for a, b in zip(*found.values(), strict=True)]
    low, median, high = (f(ratios) for f in (min, statistics.median, max))
    print(f"mixed_bfloat16 / float32 {median:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
