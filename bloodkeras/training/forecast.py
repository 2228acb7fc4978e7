"""Says how long a training will take: before it from one step, in it from those that are done.

Flow: takes a network and its data for a first guess; a Keras callback for all that follows, which
replaces what `fit` prints. On a terminal a bar, elsewhere a line as soon as steps are timed; on
both a line an epoch.
"""

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from bloodkeras.data.splits import Split
from bloodkeras.named_types import Floats, Logs
from bloodkeras.progress import Line, about_when, duration
from bloodkeras.recipe import Recipe
from bloodkeras.training.models import build_model, multiply_adds
from bloodkeras.training.pipeline import steps_per_epoch

WORTH_A_GUESS = 3e11  # multiply-adds of a training, forward: with less it is over in seconds
GUESSING_SECONDS = 2.0  # after which no further step is taken to guess by
TIMED_SECONDS = 2.0  # of steps, after which their speed is believed
FORWARD_SHARE = 1 / 3  # of a training step that judging the same images takes


class Forecast(keras.callbacks.Callback):
    """Says after the first steps, and after each epoch, when the training will be done.

    The first call of TensorFlow builds the graph, which is no measure of the others; so the clock
    starts at its end.
    """

    def __init__(self, name: str = "", patient: bool = False, bar: bool | None = None) -> None:
        """Take over the terminal's line.

        Args:
            name: Said first in every line, where several trainings follow one another.
            patient: Whether the training may end early, so that it is done by then at the latest.
            bar: Whether to draw a bar; None: as `Line`.
        """
        super().__init__()
        self._line = Line(bar)
        self._name = f"{name}, " if name else ""
        self._done = "done at the latest" if patient else "done"
        self._epoch = self._step = self._first_steps = 0
        self._first_end: float | None = None
        self._epoch_end: float | None = None
        self._whole: list[float] = []  # seconds of each whole epoch, but the first
        self._each = 0.0  # seconds an epoch; 0 as long as nobody knows
        self._said = False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Note the epoch, from 0."""
        self._epoch, self._step = epoch, 0

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Time the steps; say the first time that their speed is known."""
        now, self._step = time.monotonic(), batch + 1
        steps = self.params["steps"]
        if self._first_end is None:
            self._first_end, self._first_steps = now, self._step
            return
        timed = now - self._first_end
        if not self._whole and self._epoch_end is None:
            self._each = timed / (self._step - self._first_steps) * steps
        if not self._line.bar and not self._said and timed >= TIMED_SECONDS:
            self._said = True
            self._line.say(self._text())
        losses = ", ".join(
            f"{name} {float(value):.4f}" for name, value in sorted((logs or {}).items())
        )
        self._line.draw(f"{self._text()}; {losses}", self._step / steps, now)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Say how good the epoch was, and when the last will be done."""
        now, steps = time.monotonic(), self.params["steps"]
        if self._epoch_end is not None:
            self._whole.append(now - self._epoch_end)
            self._each = statistics.median(self._whole[-3:])
        elif self._first_end and steps > self._first_steps:
            # The first epoch here, with its validation.
            self._each = (now - self._first_end) / (steps - self._first_steps) * steps
        self._epoch_end, self._said, self._step = now, True, steps
        numbers = ", ".join(
            f"{name} {float(value):.4f}" for name, value in sorted((logs or {}).items())
        )
        self._line.say(self._text(numbers))

    def close(self) -> None:
        """Leave the terminal's line empty, however the training ended."""
        self._line.clear()

    def _text(self, numbers: str = "") -> str:
        """Return `epoch 1 of 40, about 2 min each, done about 17:40`."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        text = f"{self._name}epoch {self._epoch + 1} of {epochs}"
        if numbers:
            text = f"{text}: {numbers}"
        left = (epochs - self._epoch - self._step / steps) * self._each
        if not self._each or (numbers and left <= 0):
            return text
        each = duration(max(self._each, 1))
        return f"{text}, about {each} each, {self._done} {about_when(left)}"


def first_guess(each: float, epochs: int) -> str:
    """Return what is said of a training from one step: seconds an epoch, and how many of them."""
    return f"roughly {duration(max(each, 1))} an epoch, done {about_when(each * epochs)}"


def guessed_seconds(model: keras.Model, recipe: Recipe, train: Split, val: Split) -> float:
    """Guess from one step how long an epoch takes; 0 where all of them take but seconds.

    The step is computed eagerly, without the graph, which takes long to build. The network is put
    back to what it was, to the last bit, and nothing else that is random has moved.

    Args:
        model: The network, built; compiled or not.
        recipe: Every setting.
        train: What it is to be trained on.
        val: What it is judged on after each epoch.
    """
    if multiply_adds(model) * len(train) * recipe.train_epochs < WORTH_A_GUESS:
        return 0.0
    before = [np.array(variable.value.numpy()) for variable in model.variables]
    images = train.images[: recipe.train_batch_size].astype(np.float32)
    began, seconds = time.monotonic(), _step(model, images)
    while time.monotonic() - began < GUESSING_SECONDS:  # the first one readies TensorFlow's kernels
        seconds = min(seconds, _step(model, images))
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    judged = seconds * FORWARD_SHARE * len(val) / len(images)
    return seconds * steps_per_epoch(train, recipe) + judged


def guessed_training(recipe: Recipe, train: Split, val: Split) -> float:
    """Guess how many seconds a whole training takes, before it begins."""
    model = build_model(recipe, train.dataset)
    return recipe.train_epochs * guessed_seconds(model, recipe, train, val)


def _step(model: keras.Model, images: Floats) -> float:
    """Go forward and back once with float32 (B, S, S, 3); return the seconds."""
    started = time.monotonic()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(images, training=True)))
    for gradient in tape.gradient(loss, [v.value for v in model.trainable_variables]):
        gradient.numpy()  # on a GPU: wait for it
    return time.monotonic() - started
