"""Begins a training with the weights of an export, on other cells and perhaps other classes.

Flow: takes an export's folder; gives a `Start`. Takes a network that was just built and a `Start`;
gives the network the export's weights.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import sha256_of
from bloodkeras.contract import MODEL_FILE
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError
from bloodkeras.laboratory.graph import constants_of, kernel_of, load_model, makers_of
from bloodkeras.named_types import Floats, Json, Pixels
from bloodkeras.recipe import Recipe, recipe_of_export
from bloodkeras.training.distillation import layers_by_kind
from bloodkeras.training.models import predict_outputs

if TYPE_CHECKING:
    from bloodkeras.laboratory.graph import ModelProto

LOGITS = "logits"  # the last layer
UNKNOWN_CLASS = -2.0  # logit with which a class begins that the export does not know
LOOKED_AT = 128  # training images by which normalisations are set
LEAST_VARIANCE = 1e-4  # of a channel that these images leave dark

Kernel = tuple[Floats, Floats]  # in Keras' layout, and its bias


@dataclass(frozen=True)
class Start:
    """An export that a training begins with.

    Attributes:
        folder: Of the export.
        recipe: That it was trained by.
        dataset: That it was trained on.
    """

    folder: Path
    recipe: Recipe
    dataset: DataSet

    def named(self) -> Json:
        """Return what a run says of it."""
        return {
            "model": self.folder.name,
            "sha256": sha256_of(self.folder / MODEL_FILE),
            "credits": list(self.dataset.credits),
        }


def open_start(folder: Path, dataset: DataSet) -> Start:
    """Read what an export says of its network.

    Args:
        folder: Of the export.
        dataset: That will be trained on: its classes may be others, not the side of its images.

    Raises:
        BloodkerasError: It is no complete export, or for images of another side.
    """
    theirs = Classifier.load(folder).dataset
    if theirs.image_side != dataset.image_side:
        raise BloodkerasError(
            f"{folder.name} looks at {theirs.image_side} pixels, and the data have "
            f"{dataset.image_side}: name an export of that size, or gather them at --size "
            f"{theirs.image_side}"
        )
    return Start(folder, recipe_of_export(folder), theirs)


def begin_with(start: Start, model: keras.Model, dataset: DataSet, images: Pixels) -> None:
    """Give a network that was just built the weights of an export of the same network.

    It then answers as the export does. What the last layer knows of a class is kept where the data
    have that class.

    Args:
        start: The export.
        model: As `build_model` returns it.
        dataset: The classes of the model.
        images: uint8 (N, S, S, 3), of the training. An export has its normalisations folded into
            its kernels; here they begin with the mean and variance of these images.

    Raises:
        BloodkerasError: The export's graph is not that of this network.
    """
    *kernels, last = _stored(load_model(start.folder / MODEL_FILE))
    # Those of one shape follow one another in any order that a graph may have its nodes in.
    by_shape = defaultdict(list)
    for each in kernels:
        by_shape[each[0].shape].append(each)
    built = list(_with_kernels(model))
    shapes = sorted(tuple(layer.kernel.shape) for layer in built)
    if shapes != sorted(kernel.shape for kernel, _ in kernels):
        raise BloodkerasError(
            f"{start.folder} holds another network than this recipe's: leave --width, --depth and "
            "--balance as they are there"
        )
    norms = (x for x in model.layers if isinstance(x, keras.layers.BatchNormalization))
    following, normalised = {id(norm.input): norm for norm in norms}, []
    for layer in built:
        kernel, bias = by_shape[tuple(layer.kernel.shape)].pop(0)
        layer.kernel.assign(kernel)
        if norm := following.get(id(layer.output)):
            normalised.append((layer, norm, bias))
        if layer.use_bias:
            layer.bias.assign(0 * bias if norm else bias)
    _set_normalisations(model, normalised, images[:: -(-len(images) // LOOKED_AT)])
    model.get_layer(LOGITS).set_weights(for_classes(*last, start.dataset, dataset))


def _stored(graph: "ModelProto") -> Iterator[Kernel]:
    """Yield the kernels of a graph in the order of its nodes, the last layer's last."""
    constants, makers = constants_of(graph), makers_of(graph)

    def constant(name: str) -> Floats:
        if name not in constants:  # cast from half precision
            name = makers[name].input[0]
        found: Floats = constants[name].astype(np.float32)
        return found

    for node in graph.graph.node:
        if node.op_type == "Conv":
            kernel, bias = map(constant, node.input[1:3])
            each_channel = any(field.name == "group" and field.i > 1 for field in node.attribute)
            yield kernel.transpose((2, 3, 0, 1) if each_channel else (2, 3, 1, 0)), bias
        elif node.op_type == "Gemm":
            yield kernel_of(node, constants), constants[node.input[2]]


def _with_kernels(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the layers that have kernels, but for the last, those of a kind as they were made."""
    for layers in layers_by_kind(model).values():
        yield from (x for x in reversed(layers) if hasattr(x, "kernel") and x.name != LOGITS)


def _set_normalisations(
    model: keras.Model, normalised: list[tuple[keras.Layer, keras.Layer, Floats]], images: Pixels
) -> None:
    """Set normalisations so that each adds a bias, and nothing else, to what comes in.

    Args:
        model: With the kernels that the normalisations were folded into.
        normalised: A layer, what normalises its output, and the bias.
        images: uint8 (N, S, S, 3).
    """
    if not normalised:
        return
    before = keras.Model(model.input, [layer.output for layer, _, _ in normalised])
    for _, norm, bias in normalised:
        scale = np.ones_like(bias)
        norm.set_weights([scale, bias, 0 * bias, scale - norm.epsilon])
    for (_, norm, bias), found in zip(normalised, predict_outputs(before, images), strict=True):
        exact = found.astype(np.float32)  # a sum in bfloat16 is none
        mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2)) + LEAST_VARIANCE
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + mean, mean, variance])


def for_classes(kernel: Floats, bias: Floats, theirs: DataSet, ours: DataSet) -> list[Floats]:
    """Return the last layer for our classes, from that for theirs."""
    names = theirs.class_names
    known = [names.index(name) if name in names else -1 for name in ours.class_names]
    there = np.array(known) >= 0
    return [kernel[:, known] * there, np.where(there, bias[known], UNKNOWN_CLASS)]
