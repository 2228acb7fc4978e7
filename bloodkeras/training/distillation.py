"""What teachers say of the images that a student learns from: its labels, wholly or in part.

Flow: takes run folders and the data that they were trained on; gives `Teachers`, whose answers
`pipeline.py` mixes into the labels. A teacher sees each image as the student does (turned, shifted,
lit alike), at its own size, but never as another laboratory's: it does not know those.
Sources: Hinton et al. 2015 (arXiv:1503.02531); one view for both, Beyer et al. 2022
    (arXiv:2106.05237).
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bloodkeras.data.splits import Split, Splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.named_types import Floats, Json, Pixels
from bloodkeras.recipe import Recipe
from bloodkeras.training.augment import build_augmentation
from bloodkeras.training.pipeline import StepSeed, Taught, augment
from bloodkeras.training.run_folder import Run, load_run

LOG = logging.getLogger(__name__)

# Grey levels that the mean colours of one cell at two sizes differ by, at most. BloodMNIST at 28
# and 64: 1.5; of two cells drawn at random it holds once in fifteen times.
SAME_CELL = 4.0


@dataclass(frozen=True)
class Teacher:
    """A trained network, and the student's training images at the size that it takes.

    Attributes:
        model: Its logits are asked for.
        images: uint8 (N, S, S, 3), row for row the student's cells.
    """

    model: keras.Model
    images: Pixels


@dataclass(frozen=True)
class Teachers:
    """Who teaches, and what a run says of them.

    Attributes:
        named: One object for each teacher: its run, SHA-256 of weights and data, image side.
    """

    members: tuple[Teacher, ...] = ()
    named: list[Json] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.members)


def open_teachers(
    folders: Sequence[Path], student: Splits, others: Splits | None, precision: str
) -> Teachers:
    """Read teachers from their run folders, and find each its images.

    Args:
        folders: Of runs, of the student's size and of that of `others`.
        student: What the student is trained on.
        others: The same cells at another size; None where the teachers take the student's.
        precision: The student's; a teacher that was trained in another computes in float32.

    Raises:
        BloodkerasError: A run cannot be read, is for other classes, is of a size that neither has,
            the two data sets are not row for row the same cells, or no teacher takes `others`.
    """
    if others is not None:
        _check_same_cells(student, others)
    members, named = [], []
    for folder in folders:
        run = load_run(folder)
        splits = _data_for(run, student, others)
        model = run.stored_model if run.precision == precision else run.model
        members.append(Teacher(model, splits.train.images))
        named.append(
            {
                "run": run.folder.name,
                "weights_sha256": run.weights,
                "data_sha256": splits.sha256,
                "image_side": run.dataset.image_side,
            }
        )
    if others is not None and others.sha256 not in [each["data_sha256"] for each in named]:
        raise BloodkerasError(
            f"no teacher looks at {others.source}: leave --teacher-data out, the student's data do"
        )
    return Teachers(tuple(members), named)


def inherit(student: keras.Model, teachers: Teachers) -> None:
    """Give a student the weights of its first teacher, where their layers are alike; say so.

    Layers are paired kind by kind from the last one back: what differs between networks of one
    kind for images of two sizes is how they begin.
    """
    teacher = teachers.members[0].model
    ours, theirs = layers_by_kind(student), layers_by_kind(teacher)
    taken = 0
    for kind, layers in ours.items():
        for layer, other in zip(layers, theirs[kind], strict=False):
            if [w.shape for w in layer.weights] == [w.shape for w in other.weights]:
                layer.set_weights(other.get_weights())
                taken += 1
    count = sum(map(len, ours.values()))
    LOG.info(f"{taken} of {count} layers begin with the weights of {teachers.named[0]['run']}")


def layers_by_kind(model: keras.Model) -> defaultdict[str, list[keras.Layer]]:
    """Return the layers that have weights, those of each kind from the last one made back.

    By the number that their names end in: a model that was read back lists them in another order.
    """

    def number(layer: keras.Layer) -> int:
        last = layer.name.rpartition("_")[2]
        return int(last) if last.isdecimal() else 0

    found = defaultdict(list)
    for layer in model.layers:
        if layer.weights:
            found[type(layer).__name__].append(layer)
    for layers in found.values():
        layers.sort(key=number, reverse=True)
    return found


def teacher_answers(teachers: Teachers, recipe: Recipe) -> Taught:
    """Return what the pipeline asks for a batch: the mean of the teachers' probabilities.

    They see the view that the student gets, in its own laboratory's stain and optics. What they say
    is kept where the recipe repeats views.

    Returns:
        A function of view (), step () and rows int32 (B,), which gives float32 (B, K).
    """
    layers = build_augmentation(recipe, teacher=True)
    held = {id(teacher.images): tf.constant(teacher.images) for teacher in teachers.members}
    members = [(teacher.model, held[id(teacher.images)]) for teacher in teachers.members]

    def asked(view: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        found = []
        for model, images in members:
            pixels = tf.cast(tf.gather(images, rows), tf.float32)
            labels = tf.zeros([len(rows), 1])  # nobody's: mixing layers ask for some
            seeds = StepSeed(recipe.train_seed, view, step)  # the student's own
            pixels, _ = augment(pixels, labels, layers, seeds)
            found.append(_softened(model(pixels, training=False), recipe))
        return tf.reduce_mean(found, axis=0)

    return _kept(asked, teachers, recipe) if recipe.train_views else asked


def _kept(asked: Taught, teachers: Teachers, recipe: Recipe) -> Taught:
    """Return what asks only where it was not asked before.

    The answers are not part of a checkpoint: a training that goes on asks again, for the same.
    """
    model, images = teachers.members[0].model, teachers.members[0].images
    shape = (recipe.train_views, len(images), model.output_shape[-1])
    answers = tf.Variable(tf.fill(shape, np.float32(np.nan)), trainable=False)

    def asked_once(view: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        places = tf.stack([tf.fill(tf.shape(rows), tf.cast(view, rows.dtype)), rows], axis=1)

        def ask() -> tf.Tensor:
            found = asked(view, step, rows)
            with tf.control_dependencies([answers.scatter_nd_update(places, found)]):
                return tf.identity(found)

        known = answers.gather_nd(places)
        return tf.cond(tf.math.is_nan(known[0, 0]), ask, lambda: known)

    return asked_once


def _softened(logits: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Return probabilities at the recipe's temperature."""
    return tf.nn.softmax(tf.cast(logits, tf.float32) / recipe.train_teacher_temperature)


def _data_for(run: Run, student: Splits, others: Splits | None) -> Splits:
    """Return the one of both data sets that a teacher can look at."""
    classes, side = student.dataset.class_names, run.dataset.image_side
    if run.dataset.class_names != classes:
        raise BloodkerasError(
            f"the teacher {run.folder} knows other classes ({', '.join(run.dataset.class_names)}) "
            f"than the data ({', '.join(classes)})"
        )
    for splits in (student, others):
        if splits is not None and splits.dataset.image_side == side:
            return splits
    raise BloodkerasError(
        f"the teacher {run.folder} looks at {side}x{side} pixels: name the same cells at that size "
        "with --teacher-data FILE"
    )


def _check_same_cells(student: Splits, others: Splits) -> None:
    """Refuse data whose training rows are not the student's cells, by label and mean colour."""
    ours, theirs = student.train, others.train
    if len(ours) != len(theirs):
        raise BloodkerasError(
            f"--teacher-data {others.source} has {len(theirs)} training images and the student's "
            f"data {len(ours)}: expected the same cells in the same order"
        )
    colours = np.abs(_mean_colours(ours) - _mean_colours(theirs)).max(axis=1)
    wrong = np.flatnonzero((ours.labels != theirs.labels) | (colours > SAME_CELL))
    if len(wrong):
        raise BloodkerasError(
            f"--teacher-data {others.source} does not hold the student's cells in the same order: "
            f"{len(wrong)} of {len(ours)} training rows differ in label or colour, the first is "
            f"row {wrong[0]}"
        )


def _mean_colours(split: Split) -> Floats:
    """Return float (N, 3), the mean of each channel."""
    colours: Floats = split.images.mean(axis=(1, 2))
    return colours
