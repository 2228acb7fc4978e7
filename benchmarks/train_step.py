"""Measures a training epoch of `deeper`, Keras against PyTorch, on the same two CPU threads.

Flow: takes a data file (--data); gives seconds, medians and pair-wise ratios on stdout.

    PYTHONPATH=. python benchmarks/train_step.py     # about 6 minutes on two idle cores

Rounds alternate the frameworks, each in its own process, through three jobs: `epoch` augments and
trains every batch; `cached` takes as many steps on one batch, so without the input pipeline;
`alone` augments every batch and trains nothing. The pipeline costs 1 - cached / epoch of an epoch.
Keras' seconds include the start of `fit`. PyTorch is eager: channels_last, flip and rotation in
one grid_sample, fused Adam (its default, a loop over tensors, is slower). Other work on the
machine hurts PyTorch more, whose OpenMP threads wait for the one that was put aside.

Sources: https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html
"""

import argparse
import collections
import importlib.util
import itertools
import math
import multiprocessing
import operator
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.data.splits import class_weights, load_splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.recipes import named_recipe

THREADS = 2
PARAMETERS = 313_192  # trainable, of `deeper`
FRAMEWORKS = ("keras", "torch")
JOBS = ("epoch", "cached", "alone")
RECIPE = named_recipe("deeper")
WORK = []  # in each framework's process: fit, all batches, one batch repeated


def prepare_keras(split, steps: int, _):
    """Fill WORK, compiled as `train` does; return versions, threads, parameters, interpolation."""
    import keras
    import tensorflow as tf

    from bloodkeras.training.augment import build_augmentation
    from bloodkeras.training.models import build_model, parameter_count
    from bloodkeras.training.pipeline import train_dataset
    from bloodkeras.training.train import compile_model

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    model = build_model(RECIPE)
    compile_model(model, RECIPE, steps)

    def fit(batches):
        fitted = model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
        return fitted.history["loss"][0]

    batches = train_dataset(split, RECIPE).take(steps)
    one = tf.data.Dataset.from_tensors(next(iter(batches))).repeat(steps)
    one = one.with_options(batches.options())
    WORK.extend((fit, lambda: batches, lambda: one))
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    versions = f"keras {keras.__version__}, tensorflow {tf.__version__}"
    return versions, threads, parameter_count(model), build_augmentation(RECIPE)[-1].interpolation


def prepare_torch(split, steps: int, interpolation: str):
    """Fill WORK, the rotation interpolating as Keras' does; return what prepare_keras returns."""
    import torch

    torch.set_num_threads(THREADS)
    model = torch_model().train()
    adam = torch.optim.Adam(model.parameters(), RECIPE.train_learning_rate, eps=1e-7, fused=True)
    entropy = torch.nn.functional.cross_entropy
    weights = torch.tensor(list(class_weights(split.labels).values()))
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)

    def batches():
        for rows in torch.randperm(len(labels)).split(RECIPE.train_batch_size)[:steps]:
            pixels = images[rows].permute(0, 3, 1, 2).float()  # (B, 3, 28, 28), channels last
            yield torch_augment(pixels, interpolation), labels[rows]

    def fit(batches):
        losses, correct = [], 0  # `fit` of Keras keeps both too
        for pixels, targets in batches:
            adam.zero_grad(set_to_none=True)
            logits = model(pixels * (1 / 127.5) - 1)
            # Keras divides by the number of images, PyTorch's "mean" by the sum of the weights.
            loss = entropy(logits, targets, weights, reduction="sum") / len(targets)
            loss.backward()
            adam.step()
            losses.append(loss.detach())
            correct += (logits.detach().argmax(1) == targets).sum()
        return torch.stack(losses).mean().item()

    one = next(batches())
    WORK.extend((fit, batches, lambda: [one] * steps))
    parameters = sum(weight.numel() for weight in model.parameters())
    return f"torch {torch.__version__}", torch.get_num_threads(), parameters, interpolation


def torch_model():
    """Return `models.build_deeper` in PyTorch: (B, 3, 28, 28), -1..1, to logits (B, 8)."""
    import torch
    from torch import nn

    torch.manual_seed(RECIPE.train_seed)
    layers = []
    blocks = ((3, 32, 0), (32, 32, 1), (32, 64, 0), (64, 64, 1), (64, 128, 1), (128, 128, 0))
    for inputs, filters, pools in blocks:  # to (B, 128, 3, 3)
        norm = nn.BatchNorm2d(filters, eps=1e-3, momentum=1 - RECIPE.model_norm_momentum)
        layers += [nn.Conv2d(inputs, filters, 3, padding=1), norm, nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] * pools
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]  # (B, 128)
    for units in (128, 64):
        layers += [nn.Linear(128, units), nn.ReLU(inplace=True), nn.Dropout(RECIPE.model_dropout)]
    model = nn.Sequential(*layers, nn.Linear(64, BLOODMNIST.class_count))
    return model.to(memory_format=torch.channels_last)


def torch_augment(pixels, interpolation: str):
    """Flip and rotate each image (B, 3, 28, 28) by its own draw, the border reflected."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    limit = math.radians(RECIPE.augment_rotation_degrees)
    angle = torch.empty(len(pixels)).uniform_(-limit, limit)
    mirror = torch.randint(0, 2, angle.shape) * 2.0 - 1.0  # -1 or 1
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack((cos * mirror, -sin * mirror, zero, sin, cos, zero), 1).view(-1, 2, 3)
    grid = affine_grid(turn, pixels.shape, align_corners=False)
    turned = grid_sample(pixels, grid, interpolation, "reflection", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)


def timed(job: str):
    """Do a job in this process; return its seconds, and the loss if it trains."""
    fit, batches, one = WORK
    started = time.perf_counter()
    if job == "alone":
        loss = collections.deque(batches(), maxlen=0)  # draws all, keeps none
    else:
        loss = fit(batches() if job == "epoch" else one())
    return time.perf_counter() - started, loss


def measure(processes: dict, rounds: int) -> dict:
    """Return (framework, job) -> seconds of each counted round; print every round."""
    seconds = collections.defaultdict(list)
    for number, job in itertools.product(range(rounds), JOBS):
        line = f"round {number} {job:6}"
        for name, process in processes.items():
            time.sleep(0.5)  # lets the threads of the job before fall asleep
            elapsed, loss = process.submit(timed, job).result()
            line += f"  {name} {elapsed:.2f} s" + (f" (loss {loss:.3f})" if loss else "")
            if number:  # round 0 compiles and fills caches
                seconds[name, job].append(elapsed)
        print(line if number else f"{line}  warm-up, not counted", flush=True)
    return seconds


def summarise(seconds: dict) -> None:
    """Print medians, the ratio of each pair of rounds, and the pipeline's share of an epoch."""

    def spread(values, form):
        values = (statistics.median(values), min(values), max(values))
        return "{} ({} to {})".format(*(format(value, form) for value in values))

    def ratios(over, under):
        return list(map(operator.truediv, seconds[over], seconds[under]))

    print("\nmedian (least to most) of the counted rounds")
    for job in JOBS:
        each = "  ".join(f"{name} {spread(seconds[name, job], '.2f')} s" for name in FRAMEWORKS)
        pairs = ratios(("keras", job), ("torch", job))
        print(f"{job:6}  {each}  keras/torch {spread(pairs, '.3f')}")
    for name in FRAMEWORKS:
        shares = [1 - ratio for ratio in ratios((name, "cached"), (name, "epoch"))]
        print(f"pipeline's share of an epoch, {name}: {spread(shares, '.1%')}")


def start(split, steps: int) -> dict:
    """Start a process a framework, on two cores; print and check what each says of itself."""
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if hasattr(os, "sched_setaffinity"):  # Linux: no helper thread gets a third core either
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    processes, interpolation = {}, None
    for name, prepare in zip(FRAMEWORKS, (prepare_keras, prepare_torch), strict=True):
        processes[name] = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        facts = processes[name].submit(prepare, split, steps, interpolation).result()
        print("{}: {} threads, {:,} parameters, {} rotation".format(*facts))
        assert facts[1:3] == (THREADS, PARAMETERS), f"expected {THREADS}, {PARAMETERS}: {facts}"
        interpolation = facts[-1]  # Keras': PyTorch shall do the same
    return processes


def main() -> None:
    """Read the options, start both processes, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FILE", help="an .npz, or synthetic")
    parser.add_argument("--rounds", type=int, default=5, help="the first is warm-up (default 5)")
    parser.add_argument("--steps", type=int, help="stop an epoch after so many, for a quick test")
    options = parser.parse_args()
    if options.rounds < 2 or (options.steps is not None and options.steps < 1):
        parser.error("--rounds takes 2 or more, --steps 1 or more")
    if importlib.util.find_spec("torch") is None:
        sys.exit("this benchmark needs PyTorch, which is not installed: run `pip install torch`")
    try:
        split = load_splits(options.data).train
    except BloodkerasError as error:
        sys.exit(str(error))
    steps = min(math.ceil(len(split) / RECIPE.train_batch_size), options.steps or len(split))
    print(f"{len(split)} images, {steps} steps of {RECIPE.train_batch_size} an epoch")
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"warning: the machine is busy (load {load:.1f}): these times and ratios mislead")
    summarise(measure(start(split, steps), options.rounds))


if __name__ == "__main__":
    main()
