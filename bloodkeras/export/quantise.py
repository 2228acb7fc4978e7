"""Makes the int8 file of a network: a quarter of the weights' bytes, and quicker.

Flow: takes the folded fp32 graph, training images and a split to choose on; gives the int8 graph,
or none with the reason. Convolutions but for the first, and what lies between, become int8 (static,
per channel, QDQ); pooled features, dense layers, softmax and the foreign score stay fp32.

Weights have seven bits. A processor without VNNI multiplies activations (0 to 255) with weights
(-128 to 127) in pairs, and adds each pair in 16 bits, which saturate: eight bits of both overflow
there, and the answers are wrong (vpmaddubsw in onnxruntime's MLAS). `largest_pair` proves from the
weights alone that no pair can, whatever the image and the processor that looks.
Sources: onnxruntime's static quantisation; Jacob et al. 2018 (arXiv:1712.05877).
"""

import contextlib
import dataclasses
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from bloodkeras import contract
from bloodkeras.answers.session import open_session
from bloodkeras.data.splits import Split, Splits
from bloodkeras.export.half_weights import restore_weights
from bloodkeras.named_types import Json, Pixels, Probs
from bloodkeras.progress import told

CALIBRATION_IMAGES = 2048  # of the training split: more changed nothing
BATCH = 64  # images at once
MAX_FALL = 0.002  # of validation accuracy: with more, no int8 file is published
# Ways to choose the range of an activation; the one whose probabilities stay closest to fp32 on
# the validation split is taken. Percentiles and entropy, tried on `deeper` and a residual network,
# come no closer, need memory for every activation, and fail where one hardly varies.
CALIBRATIONS = {
    "widest": (CalibrationMethod.MinMax, {}),
    "mean of the batches' widest": (CalibrationMethod.MinMax, {"CalibMovingAverage": True}),
}
# ReLU is here to vanish: an activation clipped at 0 by its own range needs none.
QUANTISED = ("Conv", "Relu", "MaxPool", "AveragePool", "Mul", "Add")


@dataclasses.dataclass(frozen=True)
class Quantised:
    """An int8 graph and how it was chosen.

    Attributes:
        graph: The int8 model, or None where it lost too much.
        calibration: Which of CALIBRATIONS it is.
        accuracies: {"float32" or "int8": accuracy on the validation split}.
        divergences: {calibration: mean Kullback-Leibler divergence from fp32, in nats}.
        largest_pair: What `largest_pair` says of the int8 model.
        reason: Why there is no graph; "" where there is one.
    """

    graph: onnx.ModelProto | None
    calibration: str
    accuracies: dict[str, float]
    divergences: dict[str, float]
    largest_pair: int
    reason: str = ""


def quantise(graph: onnx.ModelProto, splits: Splits, max_fall: float = MAX_FALL) -> Quantised:
    """Quantise a network in every way of CALIBRATIONS and keep the best, if it is good enough.

    Args:
        graph: The fp32 model, as `publish.convert` makes it.
        splits: Calibrates on train, chooses on val; test is not looked at.
        max_fall: Of the accuracy on val, 0..1.
    """
    reference = answer(graph, splits.val.images)
    found, divergences = {}, {}
    for name in CALIBRATIONS:
        found[name] = quantise_with(name, graph, splits.train.images)
        probs = answer(found[name], splits.val.images)
        divergences[name] = _divergence(reference, probs)
    best = min(divergences, key=divergences.__getitem__)
    accuracies = {
        "float32": _accuracy(reference, splits.val),
        "int8": _accuracy(answer(found[best], splits.val.images), splits.val),
    }
    pair, fall = largest_pair(found[best]), accuracies["float32"] - accuracies["int8"]
    reason = ""
    if pair > contract.PAIR_LIMIT:
        reason = (
            f"two of its products can sum to {pair:,}, and processors without VNNI add them in 16 "
            f"bits, which hold {contract.PAIR_LIMIT:,}: its answers would be wrong there"
        )
    elif fall > max_fall + 1e-9:
        reason = (
            f"its accuracy on the validation split is {accuracies['int8']:.4f}, that of fp32 "
            f"{accuracies['float32']:.4f}: {100 * fall:.2f} points less, where at most "
            f"{100 * max_fall:.2f} are allowed"
        )
    return Quantised(None if reason else found[best], best, accuracies, divergences, pair, reason)


def largest_pair(model: onnx.ModelProto) -> int:
    """Return the largest sum, either sign, of two products of an activation and a weight.

    Any two weights of one tensor count as a pair: which ones a kernel pairs depends on how it
    packs them, and a bound that holds for all needs no knowledge of that. Activations count as 255,
    signed ones too, which onnxruntime shifts by 128. Weights stored as uint8 or floats are none of
    this: they are multiplied in 16 or more bits.

    Args:
        model: A quantised one.

    Returns:
        At most contract.PAIR_LIMIT where no pair can overflow; 0 where there are no int8 weights.
    """
    largest = 0
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1:
            ordered = np.sort(numpy_helper.to_array(tensor).astype(int), axis=None)
            positive, negative = np.maximum(ordered[-2:], 0), np.minimum(ordered[:2], 0)
            largest = max(largest, 255 * positive.sum(), -255 * negative.sum())
    return int(largest)


def quantise_with(name: str, graph: onnx.ModelProto, images: Pixels) -> onnx.ModelProto:
    """Quantise a network with one of CALIBRATIONS.

    Args:
        name: Which one.
        graph: The fp32 model; it is not changed.
        images: uint8 (N, S, S, 3) to calibrate on; some are drawn.
    """
    method, extra = CALIBRATIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, contract.MODEL_FILE), Path(folder, contract.INT8_FILE)
        onnx.save(restore_weights(graph), source)
        with _hushed():
            quantize_static(
                source,
                target,
                _Batches(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,  # of the weights: seven bits
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=float_nodes(graph.graph),
                calibrate_method=method,
                extra_options=extra,
            )
        quantised = onnx.load(target)
    del quantised.graph.value_info[:]
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that stay fp32, as answers and foreign scores then do.

    They work on one number a channel, or on the image up to the first convolution: its scaling, the
    colours that the foreign score looks at, and that convolution, whose input has three channels of
    the widest range. They cost next to nothing, and quantising them costs more than it saves.
    """
    before = {tensor.name for tensor in (*graph.input, *graph.initializer)}
    pooled: set[str] = set()
    names = []
    for node in graph.node:  # in the order of the computation
        inputs = set(node.input) - {""}
        follows = inputs & pooled and inputs <= pooled | before
        if node.op_type == "GlobalAveragePool" or follows:
            pooled |= set(node.output)
        elif inputs <= before:
            if node.op_type != "Conv":
                before |= set(node.output)
        else:
            continue
        names.append(node.name)
    return names


def answer(graph: onnx.ModelProto, images: Pixels) -> Probs:
    """Return the probabilities that a model gives uint8 (N, S, S, 3): float32 (N, K)."""
    session, names = open_session(graph.SerializeToString()), [contract.OUTPUT_NAME]
    parts = told(lambda batch: session.run(names, {contract.INPUT_NAME: batch})[0], images, BATCH)
    return np.concatenate(parts)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep onnxruntime's advice to pre-process, which `publish.fold` has done, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Batches(CalibrationDataReader):
    """Hands onnxruntime some of the training images, drawn without regard to their class."""

    def __init__(self, images: Pixels) -> None:
        drawn = np.random.default_rng(0).permutation(len(images))[:CALIBRATION_IMAGES]
        whole = len(drawn) // BATCH * BATCH or len(drawn)  # the mean of widest: of equal batches
        starts = range(0, whole, BATCH)
        self._batches = iter([images[np.sort(drawn[:whole][s : s + BATCH])] for s in starts])

    def get_next(self) -> Json | None:
        batch = next(self._batches, None)
        return None if batch is None else {contract.INPUT_NAME: batch}


def _divergence(reference: Probs, probs: Probs) -> float:
    """Return the mean Kullback-Leibler divergence of probs from reference, in nats."""
    tiny = np.float32(1e-9)
    return float((reference * np.log((reference + tiny) / (probs + tiny))).sum(1).mean())


def _accuracy(probs: Probs, split: Split) -> float:
    return float((probs.argmax(1) == split.labels).mean())
