"""Trainings in processes of their own, which start quickly and can be killed by a real SIGKILL.

A fork server has TensorFlow imported already, so that a process needs no seconds for it; a fork is
safe there because importing TensorFlow starts none of its computing threads.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def server() -> multiprocessing.context.ForkServerContext:
    """Return where to start processes that have TensorFlow imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "keras", "bloodkeras.training.train"])
    return context


def train_here(recipe, splits, folder: Path, resume: bool, kill_at: int, events) -> None:
    """Train in this process, which dies at the `kill_at`-th step or operation on a file of the run.

    Its last checkpoint stays, so that the final state of the optimiser can be compared.

    Args:
        recipe: Every setting.
        splits: The data.
        folder: The run folder.
        resume: Whether to go on.
        kill_at: From 1; 0 for never.
        events: A shared number: how many of both there were.
    """
    from bloodkeras.training import train

    def count():
        events.value += 1
        if events.value == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):
        if event in FILE_EVENTS and folder.name in str(arguments):
            count()

    class Counted(train.LossGuard):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            count()

    sys.addaudithook(hook)
    train.LossGuard = Counted
    train.remove_checkpoints = lambda folder: None
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        train.train(recipe, splits, folder, resume=resume)


def command_here(words: list[str], errors: Path, largest_file: int) -> None:
    """Run the command line in this process.

    Args:
        words: What follows `bloodkeras`.
        errors: The file that becomes its standard error.
        largest_file: Bytes that a file may have, as on a disk that is full then; 0: any.
    """
    from bloodkeras.__main__ import main

    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    sys.argv[1:] = words
    main()


class Process:
    """One such process."""

    def __init__(self, context, target, *arguments):
        self.process = context.Process(target=target, args=arguments)
        self.process.start()

    def kill_after(self, seconds: float) -> None:
        """Kill it after so many seconds, unless it is done before."""
        self.process.join(seconds)
        self.process.kill()
        self.process.join()

    def end(self) -> int:
        """Wait for its end; return its exit code, negative for a signal's number."""
        self.process.join()
        return self.process.exitcode


class Training(Process):
    """A training, which counts its steps and operations on files."""

    def __init__(self, context, recipe, splits, folder: Path, resume=False, kill_at=0):
        self.events = context.Value("i", 0)
        super().__init__(context, train_here, recipe, splits, folder, resume, kill_at, self.events)
